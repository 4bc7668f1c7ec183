import { randomBytes } from 'node:crypto';
import { AutogitError } from '../../protocol/errors.ts';

/** Crockford's base32: no I, L, O, U, so that a code can be read aloud and typed without doubt. */
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const idChars = 4;
/** 26 characters of 5 bits: 130 bits. */
const secretChars = 26;
const groupChars = 5;

export interface InviteCode {
  /** Names the invite in the ledger; no secret. */
  id: string;
  /** What the ledger keeps sealed, and what proofs are made with. */
  secret: string;
}

/** Draws a new invite whose id is not in use. 256 values a byte map evenly on 32 characters. */
export function newInviteCode(taken: ReadonlySet<string> = new Set()): InviteCode {
  const draw = (count: number): string => [...randomBytes(count)].map((byte) => alphabet[byte % 32]).join('');
  let id = draw(idChars);
  while (taken.has(id)) id = draw(idChars);
  return { id, secret: draw(secretChars) };
}

/** The code as people see it: six groups of five. */
export function writeInviteCode({ id, secret }: InviteCode): string {
  const all = id + secret;
  const groups: string[] = [];
  for (let at = 0; at < all.length; at += groupChars) groups.push(all.slice(at, at + groupChars));
  return groups.join('-');
}

/** Reads a typed code: any case, dashes or spaces or none; O is 0, I and L are 1. Throws `bad-flag`; never shows the code. */
export function readInviteCode(text: string): InviteCode {
  const plain = text.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1');
  const hint = 'get a fresh one on an approved machine: autogit-node invite';
  if (plain.length !== idChars + secretChars)
    throw new AutogitError(
      'bad-flag',
      `an invite code has ${idChars + secretChars} characters, this one has ${plain.length}`,
      { hint },
    );
  const wrong = [...plain].find((char) => !alphabet.includes(char));
  if (wrong !== undefined) throw new AutogitError('bad-flag', `an invite code has no ${wrong}`, { hint });
  return { id: plain.slice(0, idChars), secret: plain.slice(idChars) };
}
