#!/usr/bin/env node
// Verifies a Hearth proof file offline, with nothing but Node.js (20 or newer) and its own modules.
//
//   node verify.mjs FILE [CA ...]       CA: certificates you trust, PEM or DER
//
// Exit code 0: everything holds, and a CA you gave certified the node.
//           3: everything holds, but no CA you gave certified it: anybody could have made this file.
//           1: something is false; the reason is on stderr.      2: wrong usage.
//
// It follows ../README.md, "The proof file", from top to bottom; the steps are in verify() at the end.
import { X509Certificate, createHash, createPublicKey, verify as verifySignature } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { ALGORITHMS, Refused, must, readProofFile, utf8 } from './proof-file.mjs';

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const lp = (bytes) => { // length prefix of four bytes
  const size = Buffer.alloc(4);
  size.writeUInt32BE(bytes.length);
  return Buffer.concat([size, bytes]);
};

// ---- Protobuf: the length-delimited fields of a message, the last of each number.

function protobufFields(content) {
  const fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      must(at < content.length, 'protobuf: ends within a field');
      const byte = content[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new Refused('protobuf: an endless number');
  };
  while (at < content.length) {
    const tag = varint();
    const wire = Number(tag & 7n);
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else {
      must(wire === 2, 'protobuf: a wire type that is not used here');
      const size = Number(varint());
      fields.set(Number(tag >> 3n), content.subarray(at, at + size));
      at += size;
    }
    must(at <= content.length, 'protobuf: ends within a field');
  }
  const bytes = (number) => fields.get(number) ?? Buffer.alloc(0);
  return { bytes, text: (number) => utf8(bytes(number)) };
}

// ---- Keys and envelopes (DSSE).

const P256_SPKI = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');
const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex');

function statementKey(spki) {
  let kind;
  if (spki.length === 91 && spki.subarray(0, 27).equals(P256_SPKI)) [kind] = ALGORITHMS;
  if (spki.length === 44 && spki.subarray(0, 12).equals(ED25519_SPKI)) [, kind] = ALGORITHMS;
  must(kind, 'key: neither P-256 nor Ed25519 in its usual encoding');
  try {
    return { kind, key: createPublicKey({ key: spki, format: 'der', type: 'spki' }) };
  } catch {
    throw new Refused('key: the point is not on its curve');
  }
}

function holds(spki, signed, signature) {
  const { kind, key } = statementKey(spki);
  return verifySignature(kind === ALGORITHMS[0] ? 'sha256' : null, signed, key, signature);
}

const payloadType = (name) => `application/vnd.hearth.v1.${name}+protobuf`;

const pae = ({ payload_type: type, payload }) => Buffer.concat([
  Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload,
]);

function checkSignedBy(envelope, spki, part) {
  const [by, another] = envelope.signatures;
  must(by && !another, `${part}: does not carry exactly one signature`);
  must(by.key_id.equals(sha256(spki)), `${part}: signed by another key`);
  must(by.algorithm === statementKey(spki).kind, `${part}: the algorithm is not the key's`);
  must(holds(spki, pae(envelope), by.signature), `${part}: the signature does not hold`);
}

// ---- The log (RFC 9162, 2.1.3.2) and its head (C2SP checkpoint).

function checkIncluded(envelope, proof, head, part) {
  must(proof.tree_size === head.size && proof.leaf_index < head.size, `${part}: the path is for another tree`);
  let hash = sha256(Buffer.of(0), pae(envelope));
  let position = proof.leaf_index;
  let last = head.size - 1n;
  for (const sibling of proof.path) {
    must(sibling.length === 32 && last > 0n, `${part}: the path has a wrong shape`);
    if (position & 1n || position === last) {
      hash = sha256(Buffer.of(1), sibling, hash);
      while (!(position & 1n)) { // no sibling on these levels: the right edge of the tree
        position >>= 1n;
        last >>= 1n;
      }
    } else {
      hash = sha256(Buffer.of(1), hash, sibling);
    }
    position >>= 1n;
    last >>= 1n;
  }
  must(last === 0n, `${part}: the path is too short`);
  must(hash.equals(head.root), `${part}: the path does not lead to the checkpoint's root`);
}

function base64(encoded) {
  const decoded = Buffer.from(encoded, 'base64');
  must(decoded.toString('base64') === encoded, 'checkpoint: not standard base64');
  return decoded;
}

function readNote(note) {
  const found = /^(([0-9a-f]{64})\/([0-9a-f]{64}))\n(0|[1-9][0-9]{0,18})\n([^\n]+)\n\n\u2014 ([^ \n]+) ([^\n]+)\n$/.exec(note);
  must(found, 'checkpoint: not origin, size, root and one signature line');
  const [, origin, nodeId, logId, size, root, signer, blob] = found;
  const head = { nodeId, logId, size: BigInt(size), root: base64(root) };
  must(head.size < 2n ** 63n && head.root.length === 32, 'checkpoint: the size or the root is out of bounds');
  must(signer === origin, 'checkpoint: signed under another name');
  const signature = base64(blob);
  return {
    head,
    signed: Buffer.from(note.slice(0, note.indexOf('\n\n') + 1)),
    keyHash: signature.subarray(0, 4),
    signature: signature.subarray(4),
  };
}

// ---- TPM structures (TCG TPM 2.0 Library, part 2): big-endian, nothing may follow the last field.

class Reader {
  constructor(content, part) { Object.assign(this, { content, part, at: 0 }); }

  take(count) {
    must(this.at + count <= this.content.length, `${this.part}: ends within a field`);
    this.at += count;
    return this.content.subarray(this.at - count, this.at);
  }

  number(width) { return this.take(width).readUIntBE(0, width); }

  sized() { return this.take(this.number(2)); } // TPM2B

  expect(hex, what) { must(this.take(hex.length / 2).toString('hex') === hex, `${this.part}: ${what}`); }

  coordinate() { // an integer of at most 32 bytes, leading zeros left out or not
    const value = this.sized();
    must(value.length > 0 && value.length <= 32, `${this.part}: a number of ${value.length} bytes`);
    return Buffer.concat([Buffer.alloc(32 - value.length), value]);
  }

  end() { must(this.at === this.content.length, `${this.part}: bytes follow it`); }
}

// A key that is not exactly this may sign things that its TPM did not make.
function readAk(area) {
  const reader = new Reader(area, 'AK');
  reader.expect('0023000b', 'not an ECC key named by SHA-256');
  reader.expect('00050472', 'not fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign, exactly');
  reader.expect('00000010', 'has a policy or a symmetric algorithm');
  reader.expect('0018000b', 'does not sign with ECDSA and SHA-256, exactly');
  reader.expect('00030010', 'not on P-256, or with a key derivation');
  const spki = Buffer.concat([P256_SPKI, reader.coordinate(), reader.coordinate()]);
  reader.end();
  statementKey(spki);
  const name = Buffer.concat([Buffer.from('000b', 'hex'), sha256(area)]);
  return { spki, name, nodeId: sha256(name).toString('hex') };
}

function checkQuote(ak, qualifying, attest, tpmSignature) {
  const signature = new Reader(tpmSignature, 'key binding: quote signature');
  signature.expect('0018000b', 'not ECDSA with SHA-256');
  const rs = Buffer.concat([signature.coordinate(), signature.coordinate()]);
  signature.end();
  const { key } = statementKey(ak.spki);
  must(verifySignature('sha256', attest, { key, dsaEncoding: 'ieee-p1363' }, rs), 'key binding: the quote is not by the AK');

  const quote = new Reader(attest, 'key binding: quote');
  quote.expect('ff544347', 'no TPM made this');
  quote.expect('8018', 'another attestation poses as a quote');
  const endorsement = Buffer.from('4000000b', 'hex');
  const qualified = Buffer.concat([Buffer.from('000b', 'hex'), sha256(endorsement, ak.name)]);
  must(quote.sized().equals(qualified), 'key binding: the quote names another signer');
  must(quote.sized().equals(qualifying), 'key binding: the quote was made for something else');
  quote.take(8 + 4 + 4); // clock, reset count, restart count
  must(quote.number(1) <= 1, 'key binding: quote: neither yes nor no');
  quote.take(8); // firmware version
  for (let left = quote.number(4); left > 0; left--) {
    quote.take(2);
    quote.take(quote.number(1));
  }
  quote.sized(); // PCR digest
  quote.end();
}

// ---- Certificates (RFC 5280). Signatures and keys by Node, the extensions that matter by hand, since
// Node shows them as text only.

function* elements(content) {
  for (let at = 0; at < content.length;) {
    must(at + 2 <= content.length, 'certificate: DER ends within an element');
    const [tag, first] = [content[at], content[at + 1]];
    const octets = first & 0x80 ? first & 0x7f : 0;
    must(octets <= 3 && at + 2 + octets <= content.length && first !== 0x80, 'certificate: a DER length that is none');
    const size = octets ? content.readUIntBE(at + 2, octets) : first;
    const start = at + 2 + octets;
    must(start + size <= content.length, 'certificate: DER ends within an element');
    yield { tag, content: content.subarray(start, start + size) };
    at = start + size;
  }
}

const inside = (element) => [...elements(element.content)];
const decoded = (octets) => {
  const [element, another] = elements(octets);
  must(element && !another, 'certificate: not one DER element');
  return element;
};
const UNDERSTOOD = { '551d0f': 'usage', '551d11': 'names', '551d13': 'basic', '551d20': 'policies', '551d25': 'purposes' };

function readCertificate(der) {
  let x509;
  let key;
  try {
    x509 = new X509Certificate(der);
    key = x509.publicKey;
  } catch {
    throw new Refused('certificate: not X.509 in DER, or over a key that is none');
  }
  must(x509.raw.equals(der), 'certificate: not X.509 in DER');
  const [tbs] = inside(decoded(der));
  const fields = inside(tbs).filter(({ tag }) => tag < 0x80); // serial, algorithm, issuer, validity, subject, key
  const wrapped = inside(tbs).find(({ tag }) => tag === 0xa3);
  const extensions = {};
  for (const extension of wrapped ? inside(decoded(wrapped.content)) : []) {
    const [oid, ...rest] = inside(extension);
    const name = UNDERSTOOD[oid.content.toString('hex')];
    must(name || rest.length === 1 || rest[0].content[0] === 0, 'certificate: a critical extension that is not understood');
    must(!name || !(name in extensions), 'certificate: an extension occurs twice');
    if (name) extensions[name] = decoded(rest.at(-1).content);
  }
  const basic = extensions.basic ? inside(extensions.basic) : [];
  const pathLength = basic.find(({ tag }) => tag === 0x02);
  return {
    x509,
    key,
    fingerprint: sha256(der).toString('hex'),
    issuer: fields[2].content,
    subject: fields[4].content,
    spki: key.export({ type: 'spki', format: 'der' }),
    isCa: basic.some(({ tag, content }) => tag === 0x01 && content[0] === 0xff),
    signsCertificates: !extensions.usage || (extensions.usage.content[1] & 0x04) !== 0,
    pathLength: pathLength ? pathLength.content[0] : Infinity,
    purposes: extensions.purposes ? inside(extensions.purposes).map(({ content }) => content.toString('hex')) : [],
    uris: extensions.names ? inside(extensions.names).filter(({ tag }) => tag === 0x86).map(({ content }) => content.toString('latin1')) : [],
  };
}

// From the AK certificate up to the self-signed CA in the file. Expiry is judged against nothing.
function checkChain(chain, spki, nodeId) {
  must(chain.length >= 2 && chain.length <= 5, 'a chain has 2 to 5 certificates');
  const certificates = chain.map(readCertificate);
  certificates.forEach((certificate, below) => {
    const above = certificates[Math.min(below + 1, certificates.length - 1)];
    must(certificate.issuer.equals(above.subject), 'the issuer is not the next certificate');
    must(above.isCa && above.signsCertificates, 'the issuer is not a CA');
    must(Math.max(0, Math.min(below, certificates.length - 2)) <= above.pathLength, 'the chain is too long for its CA');
    must(certificate.x509.verify(above.key), "the issuer's signature does not hold");
  });
  const [leaf, ca] = [certificates[0], certificates.at(-1)];
  must(!leaf.isCa && leaf.purposes.join() === '6781050803', 'not an AK certificate (2.23.133.8.3)');
  must(leaf.spki.equals(spki), 'it is over another key');
  const stated = leaf.uris.map((uri) => (uri === `urn:hearth:node:${nodeId}` ? 'this node' : uri)).sort();
  const found = /^this node\nurn:hearth:assurance:(software|virtual-tpm|approved-tpm|hardware-tpm)\nurn:hearth:ek:(none|[0-9a-f]{64})$/
    .exec(stated.length === 3 ? stated.join('\n') : '');
  must(found, 'it does not name this node, one assurance class and one EK');
  return { assurance: found[1], ek: found[2], ca: ca.fingerprint };
}

// ---- The steps.

const within = (part, check) => {
  try {
    return check();
  } catch (error) {
    if (error instanceof Refused) throw new Refused(`${part}: ${error.message}`);
    throw error;
  }
};

/** Checks the bytes of a proof file; `trusted` are SHA-256 fingerprints (hex) of CA certificates. */
export function verify(content, trusted = new Set()) {
  const proof = readProofFile(content);

  must((proof.ak_public.length === 0) !== (proof.software_spki.length === 0), 'root of trust: not exactly one of AK and node key');
  const ak = proof.ak_public.length ? readAk(proof.ak_public) : null;
  const spki = ak ? ak.spki : proof.software_spki;
  must(statementKey(spki).kind === ALGORITHMS[0], 'root of trust: not a P-256 key');
  const nodeId = ak ? ak.nodeId : sha256(spki).toString('hex');

  const note = readNote(proof.note);
  const { head } = note;
  must(head.nodeId === nodeId, 'checkpoint: of another node');
  must(note.keyHash.equals(sha256(spki).subarray(0, 4)), 'checkpoint: signed by another key');
  must(holds(spki, note.signed, note.signature), 'checkpoint: the signature does not hold');

  const vouched = proof.ak_certificates.map(({ certificates }, index) => within(`AK certificate ${index + 1}`, () => {
    const by = checkChain(certificates, spki, nodeId);
    must((by.assurance === 'software') === !ak && (ak || by.ek === 'none'), 'the assurance class does not fit the root of trust');
    return by;
  }));
  const cas = vouched.map(({ ca }) => ca);
  must(cas.length > 0 && cas.every((ca, index) => index === 0 || cas[index - 1] < ca), 'AK certificates: none, or not sorted');

  must(proof.key_binding.payload_type === payloadType('KeyBinding'), 'key binding: is none');
  const binding = protobufFields(proof.key_binding.payload);
  const [bootId, envelopeSpki, quote, quoteSignature, incarnation] = [1, 2, 3, 4, 5].map(binding.bytes);
  must(binding.text(6) === head.logId, 'key binding: for another log');
  checkSignedBy(proof.key_binding, envelopeSpki, 'key binding');
  const qualifying = sha256('hearth/v1/key-binding', lp(Buffer.from(head.logId)), lp(bootId), lp(envelopeSpki), lp(incarnation));
  if (ak) {
    checkQuote(ak, qualifying, quote, quoteSignature);
  } else {
    must(quote.length === 0 && incarnation.length === 0, 'key binding: TPM fields without a TPM');
    must(holds(spki, qualifying, quoteSignature), 'key binding: the node key did not sign it');
  }
  checkIncluded(proof.key_binding, proof.key_binding_inclusion, head, 'key binding');

  checkSignedBy(proof.statement, envelopeSpki, 'statement');
  checkIncluded(proof.statement, proof.statement_inclusion, head, 'statement');
  const [, type] = /^application\/vnd\.hearth\.v1\.([A-Z][A-Za-z0-9]{0,63})\+protobuf$/.exec(proof.statement.payload_type) ?? [];
  must(type, 'statement: not the type of a hearth.v1 message');
  // Where a message names its node and its log: field numbers.
  const [nodeField, logField] = { Receipt: [1, 5], Offer: [1], LeaseAgreement: [2], LogStart: [1], KeyBinding: [0, 6] }[type] ?? [];
  const fields = nodeField || logField ? protobufFields(proof.statement.payload) : null;
  must(!nodeField || fields.text(nodeField) === nodeId, 'statement: names another node');
  must(!logField || fields.text(logField) === head.logId, 'statement: names another log');

  const pinned = vouched.filter(({ ca }) => trusted.has(ca));
  return { nodeId, logId: head.logId, size: head.size, type, payload: proof.statement.payload, vouched, pinned };
}

/** SHA-256 fingerprints of the certificates in a PEM or DER file. */
export function fingerprints(content) {
  const blocks = content[0] === 0x30 ? [content] : content.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  must(blocks, 'CA file: neither DER nor PEM');
  return blocks.map((block) => {
    try {
      return sha256(new X509Certificate(block).raw).toString('hex');
    } catch {
      throw new Refused('CA file: holds something that is no certificate');
    }
  });
}

function main([file, ...roots]) {
  if (!file) {
    console.error('usage: node verify.mjs FILE [CA ...]');
    return 2;
  }
  try {
    const result = verify(readFileSync(file), new Set(roots.flatMap((root) => fingerprints(readFileSync(root)))));
    console.log(`${result.type} of node ${result.nodeId}, in its log ${result.logId} of ${result.size} leaves`);
    for (const by of result.pinned.length ? result.pinned : result.vouched) {
      console.log(`certified as ${by.assurance} by CA ${by.ca}${result.pinned.length ? '' : ', which you did not pin'}`);
    }
    return result.pinned.length ? 0 : 3;
  } catch (error) {
    console.error(`refused: ${error.message}`);
    return 1;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = main(process.argv.slice(2));
}
