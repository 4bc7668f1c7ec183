import type { Envelope, MessageOf, PeerMessage } from '../../protocol/messages.ts';

const roundKey = Buffer.from('"round":');
/** Up to so many digits every number is an exact one. */
const maxDigits = 15;
const [zero, nine] = [48, 57];

/** A heartbeat, or the answer to one. */
export const isBeat = (message: PeerMessage): message is MessageOf<'append' | 'ack'> =>
  message.kind === 'ack' || (message.kind === 'append' && message.ledger === null);

/**
 * Heartbeats and their answers say the same ten times a second, but for the number of the round. What a frame of one link
 * means that differs from one that was decoded and checked in these digits only, is known without doing both again.
 */
export class BeatMemo {
  #known: { frame: Buffer; from: number; to: number; envelope: Envelope } | null = null;

  /** What the frame says; null when it must be decoded. */
  read(frame: Uint8Array): Envelope | null {
    const known = this.#known;
    if (known === null) return null;
    const tail = known.frame.length - known.to;
    const to = frame.byteLength - tail;
    const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
    const round = digitsOf(bytes, known.from, to);
    if (round === null || known.frame.compare(bytes, 0, known.from, 0, known.from) !== 0) return null;
    if (known.frame.compare(bytes, to, bytes.length, known.to, known.frame.length) !== 0) return null;
    const { v, era, message } = known.envelope;
    return { v, era, message: { ...message, round } as Envelope['message'] };
  }

  /** Decoded and checked: remembered when it is a beat. */
  keep(frame: Uint8Array, envelope: Envelope): void {
    const { message } = envelope;
    if (!isBeat(message)) return;
    // Our own: what it stands in is part of a larger buffer.
    const bytes = Buffer.from(frame);
    const from = bytes.indexOf(roundKey) + roundKey.length;
    if (from < roundKey.length || bytes.indexOf(roundKey, from) >= 0) return;
    let to = from;
    while (isDigit(bytes[to])) to += 1;
    if (digitsOf(bytes, from, to) === message.round) this.#known = { frame: bytes, from, to, envelope };
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= zero && byte <= nine;

/** The number that these bytes write, as JSON writes one; null when they do not. */
function digitsOf(bytes: Buffer, from: number, to: number): number | null {
  if (to <= from || to - from > maxDigits || (bytes[from] === zero && to - from > 1)) return null;
  let value = 0;
  for (let at = from; at < to; at += 1) {
    if (!isDigit(bytes[at])) return null;
    value = value * 10 + (bytes[at] as number) - zero;
  }
  return value;
}
