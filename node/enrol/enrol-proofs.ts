import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { NodeId } from '../../protocol/ids.ts';
import { wordsOf } from '../../protocol/word-list.ts';

/** Both sides of one enrolment; all that its words and proofs depend on. Nonces are 32 bytes in hex. */
export interface Meeting {
  newcomer: NodeId;
  member: NodeId;
  newcomerNonce: string;
  memberNonce: string;
}

export const newNonce = (): string => randomBytes(32).toString('hex');

/** What the newcomer says before it has seen the member's nonce, so that neither side can choose the words. */
export const commitmentTo = (nonce: string): string =>
  createHash('sha256').update('autogit-enrol-commitment-1\0').update(Buffer.from(nonce, 'hex')).digest('hex');

export const opensCommitment = (nonce: string, commitment: string): boolean => isSame(commitmentTo(nonce), commitment);

const material = (label: string, meeting: Meeting): string =>
  [label, meeting.newcomer, meeting.member, meeting.newcomerNonce, meeting.memberNonce].join('\0');

/** The four words, 32 bits, that both screens show. Somebody in the middle has other ids, hence other words. */
export const meetingWords = (meeting: Meeting): string =>
  wordsOf(createHash('sha256').update(material('autogit-enrol-words-1', meeting)).digest().subarray(0, 4));

/** Proof that one side knows the secret of an invite, good for this meeting and this side only. */
export const inviteProof = (secret: string, side: 'newcomer' | 'member', meeting: Meeting): string =>
  createHmac('sha256', secret)
    .update(material(`autogit-enrol-invite-1-${side}`, meeting))
    .digest('hex');

/** Compares hex strings without telling by the time how much of them is right. */
export function isSame(a: string, b: string): boolean {
  const left = Buffer.from(a, 'hex');
  const right = Buffer.from(b, 'hex');
  return left.byteLength > 0 && left.byteLength === right.byteLength && timingSafeEqual(left, right);
}
