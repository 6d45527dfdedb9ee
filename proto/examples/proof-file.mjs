// Reads a Hearth proof file: RFC 8785 JSON of hearth.v1.ProofFile, in its one encoding. Verifies nothing;
// verify.mjs does.

export class Refused extends Error {}

export function must(condition, reason) {
  if (!condition) throw new Refused(reason);
}

export const utf8 = (bytes) => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused('a text that is not UTF-8');
  }
};

const MAX_FILE = 1024 * 1024;
export const ALGORITHMS = ['SIGNATURE_ALGORITHM_ECDSA_P256_SHA256', 'SIGNATURE_ALGORITHM_ED25519'];

// Each kind of value reads a JSON value and writes it again.
const text = {
  absent: '',
  read: (json) => {
    must(typeof json === 'string' && json.isWellFormed(), 'proof file: a string was expected');
    return json;
  },
  write: (value) => value,
};
const bytes = {
  absent: Buffer.alloc(0),
  read: (json) => Buffer.from(text.read(json), 'base64url'),
  write: (value) => value.toString('base64url'),
};
const uint64 = {
  absent: 0n,
  read: (json) => {
    must(/^[1-9][0-9]{0,19}$/.test(text.read(json)), 'proof file: not a 64-bit integer');
    must(BigInt(json) < 2n ** 64n, 'proof file: not a 64-bit integer');
    return BigInt(json);
  },
  write: (value) => (value ? String(value) : ''),
};
const algorithm = {
  absent: '',
  read: (json) => {
    must(ALGORITHMS.includes(json), 'proof file: not a known signature algorithm');
    return json;
  },
  write: (value) => value,
};
const list = (kind) => ({
  absent: [],
  read: (json) => {
    must(Array.isArray(json), 'proof file: a list was expected');
    return json.map(kind.read);
  },
  write: (value) => value.map(kind.write),
});
const message = (fields) => ({
  read: (json) => {
    must(json !== null && typeof json === 'object' && !Array.isArray(json), 'proof file: an object was expected');
    return Object.fromEntries(Object.entries(fields).map(([name, kind]) => {
      if (Object.hasOwn(json, name)) return [name, kind.read(json[name])];
      must('absent' in kind, `proof file: ${name} is missing`);
      return [name, kind.absent];
    }));
  },
  // Sorted by name; fields with default values are left out.
  write: (value) => Object.fromEntries(Object.keys(fields).sort()
    .map((name) => [name, fields[name].write(value[name])])
    .filter(([, json]) => json !== '' && !(Array.isArray(json) && json.length === 0))),
});

const SIGNED_ENVELOPE = message({
  payload_type: text,
  payload: bytes,
  signatures: list(message({ key_id: bytes, algorithm, signature: bytes })),
});
const INCLUSION_PROOF = message({ leaf_index: uint64, tree_size: uint64, path: list(bytes) });
const PROOF_FILE = message({
  statement: SIGNED_ENVELOPE,
  statement_inclusion: INCLUSION_PROOF,
  key_binding: SIGNED_ENVELOPE,
  key_binding_inclusion: INCLUSION_PROOF,
  note: text,
  ak_public: bytes,
  software_spki: bytes,
  ak_certificates: list(message({ certificates: list(bytes) })),
});

/** The fields of a proof file: bytes as Buffer, 64-bit integers as BigInt. */
export function readProofFile(content) {
  must(content.length <= MAX_FILE, 'proof file: too large');
  let json;
  try {
    json = JSON.parse(utf8(content));
  } catch (error) {
    throw new Refused(`proof file: not JSON in UTF-8 (${error.message})`);
  }
  const proof = PROOF_FILE.read(json);
  // One value has one encoding: whatever was passed over above (unknown fields, white space, other
  // spellings) makes a difference here.
  must(Buffer.from(JSON.stringify(PROOF_FILE.write(proof))).equals(content), 'proof file: not in its one canonical encoding');
  return proof;
}
