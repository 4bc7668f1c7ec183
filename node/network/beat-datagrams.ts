import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';

/**
 * What a datagram is: `ask` wants any datagram back, `beat` says the last beat of the stream again under another round,
 * `answer` says only what was heard.
 */
const kinds = ['ask', 'beat', 'answer'] as const;
export type DatagramKind = (typeof kinds)[number];

export interface Datagram {
  kind: DatagramKind;
  /** The sender's own number of it, from 1; none is used twice under one key. */
  number: number;
  /** The highest number that the sender has heard of the other side; 0 before any. */
  heard: number;
  /** So many frames had gone to the stream before it, openings and offers included, empty ones not. */
  frames: number;
  /** Of a beat; 0 otherwise. */
  round: number;
}

const macBytes = 16;
const numberBytes = 6;
const bodyBytes = 1 + 4 * numberBytes;
/** Bytes of every datagram. */
export const datagramBytes = bodyBytes + macBytes;
/** Numbers above this do not fit a datagram. */
export const maxNumber = 2 ** (8 * numberBytes) - 1;

/**
 * kind (1 byte), number, heard, frames, round (6 bytes each, big endian), then the first half of HMAC-SHA-256 over them.
 * One goes out and comes in for each heartbeat, all day: nothing is made here that need not be.
 */
export function encodeDatagram({ kind, number, heard, frames, round }: Datagram, key: KeyObject): Buffer {
  const bytes = Buffer.allocUnsafe(datagramBytes);
  bytes[0] = kinds.indexOf(kind);
  bytes.writeUIntBE(number, 1, numberBytes);
  bytes.writeUIntBE(heard, 1 + numberBytes, numberBytes);
  bytes.writeUIntBE(frames, 1 + 2 * numberBytes, numberBytes);
  bytes.writeUIntBE(round, 1 + 3 * numberBytes, numberBytes);
  macOf(bytes, key).copy(bytes, bodyBytes, 0, macBytes);
  return bytes;
}

/** Null when it is no datagram of that key. */
export function decodeDatagram(bytes: Buffer, key: KeyObject): Datagram | null {
  const kind = bytes.length === datagramBytes ? kinds[bytes[0] as number] : undefined;
  if (kind === undefined) return null;
  if (!timingSafeEqual(macOf(bytes, key).subarray(0, macBytes), bytes.subarray(bodyBytes))) return null;
  return {
    kind,
    number: bytes.readUIntBE(1, numberBytes),
    heard: bytes.readUIntBE(1 + numberBytes, numberBytes),
    frames: bytes.readUIntBE(1 + 2 * numberBytes, numberBytes),
    round: bytes.readUIntBE(1 + 3 * numberBytes, numberBytes),
  };
}

const macOf = (bytes: Buffer, key: KeyObject): Buffer =>
  createHmac('sha256', key).update(bytes.subarray(0, bodyBytes)).digest();

/** After so many ms without proof the way is tried again: at first, and at most. */
const triesAgainMs = { first: 100, most: 10_000 };
/** So many datagrams may be on their way unheard before beats go by the stream again. */
const maxUnheard = 1;

/**
 * Whether datagrams arrive, as the two sides tell each other in them: nothing else says so. A way is used once one came
 * through each way, and for as long as all but the newest are known to be heard: of a way that ends, two beats are lost.
 */
export class DatagramWay {
  #sent = 0;
  #heard = 0;
  /** The highest of our own numbers that the other side has heard. */
  #proven = 0;
  #triesAt = 0;
  #waitMs = triesAgainMs.first;

  /** True when what goes now will most likely be heard. */
  get isGood(): boolean {
    return this.#proven > 0 && this.#sent - this.#proven <= maxUnheard;
  }

  /** True when a way that is not good should be asked for. Says so once a while, twice as rarely each time. */
  isToBeTried(nowMs: number): boolean {
    if (this.isGood || nowMs < this.#triesAt) return false;
    this.#triesAt = nowMs + this.#waitMs;
    this.#waitMs = Math.min(2 * this.#waitMs, triesAgainMs.most);
    return true;
  }

  /** The numbers of the next datagram. */
  next(): Pick<Datagram, 'number' | 'heard'> {
    this.#sent += 1;
    return { number: this.#sent, heard: this.#heard };
  }

  /** False when it is older than one that came before it, or came twice: nothing in it counts. */
  hear({ number, heard }: Pick<Datagram, 'number' | 'heard'>): boolean {
    if (number <= this.#heard) return false;
    this.#heard = number;
    if (heard > this.#proven && heard <= this.#sent) {
      this.#proven = heard;
      this.#waitMs = triesAgainMs.first;
      this.#triesAt = 0;
    }
    return true;
  }

  /** Nobody is there any more: the next try waits as if there had never been anybody. */
  refused(): void {
    this.#proven = 0;
  }
}
