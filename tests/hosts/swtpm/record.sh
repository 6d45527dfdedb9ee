#!/bin/bash
# Records the files beside it from a new software TPM: record.sh DIRECTORY [PORT]
# Needs swtpm, swtpm-tools and tpm2-tools; touches nothing outside DIRECTORY and a temporary one.
set -euo pipefail
out=$(realpath "$1") port=${2:-26121}
work=$(mktemp -d)
mkdir -p "$work/state" "$work/ca"
cat >"$work/setup.conf" <<C
create_certs_tool=/usr/bin/swtpm_localca
create_certs_tool_config=$work/localca.conf
create_certs_tool_options=$work/localca.options
C
printf 'statedir = %s\nsigningkey = %s/signkey.pem\nissuercert = %s/issuercert.pem\ncertserial = %s/certserial\n' \
  "$work/ca" "$work/ca" "$work/ca" "$work/ca" >"$work/localca.conf"
printf -- '--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version id:20191023\n' >"$work/localca.options"
printf -- '--platform-manufacturer Hearth\n--platform-version 1\n--platform-model test\n' >>"$work/localca.options"
XDG_CONFIG_HOME=$work swtpm_setup --tpm2 --tpmstate "$work/state" --config "$work/setup.conf" \
  --create-ek-cert --create-platform-cert --lock-nvram --overwrite >"$work/log"
swtpm socket --tpm2 --tpmstate "dir=$work/state" --flags not-need-init,startup-clear \
  --server "type=tcp,port=$port,bindaddr=127.0.0.1" \
  --ctrl "type=tcp,port=$((port + 1)),bindaddr=127.0.0.1" &
tpm=$!
trap 'kill $tpm 2>/dev/null || true; rm -rf "$work"' EXIT
sleep 1
export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=$port
tpm2_nvread 0x01c00002 -o "$out/ek_cert.der" # as NV holds it
tpm2_createek -G rsa -c "$work/ek.ctx" -u "$out/ek.pub"
tpm2_flushcontext -t
tpm2_createprimary -C e -G ecc256:ecdsa-sha256:null -c "$work/ak.ctx" \
  -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign' >/dev/null
tpm2_flushcontext -t
tpm2_readpublic -c "$work/ak.ctx" -o "$out/ak.pub" >/dev/null
tpm2_flushcontext -t
nonce=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
tpm2_quote -c "$work/ak.ctx" -l sha256:0,2,4,7 -q $nonce -g sha256 \
  -m "$out/quote.msg" -s "$out/quote.sig" >/dev/null
tpm2_pcrread sha256:0,2,4,7 -o "$out/pcrs.bin" >/dev/null
tpm2_gettime -c "$work/ak.ctx" -q 0102 -o "$out/time.sig" --attestation "$out/time.msg" >/dev/null
cp "$work/ca/issuercert.pem" "$out/issuer.pem"
cp "$work/ca/swtpm-localca-rootca-cert.pem" "$out/root.pem"
