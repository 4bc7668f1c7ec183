/**
 * Streaming masking of secrets. Every secret that occurs in the whole stream is replaced, wherever the stream was cut
 * into chunks: bytes that may still turn out to begin a secret are held back. Overlapping secrets become one mark, so
 * that not even a part of one is emitted.
 *
 * After a crash it goes on from `resumeAt`: all that it knows is (bytes held back, how many of them already stand
 * under an emitted mark, whether it is inside a token). The held bytes are read again from the executor.
 */
export interface MaskState {
  /** How many of the next bytes already stand under a mark that was emitted. */
  covered: number;
  /** True inside a token found by its prefix: token characters go on being swallowed. */
  swallowing: boolean;
}
export const freshMask: MaskState = { covered: 0, swallowing: false };

const mark = Buffer.from('[MASKED]');
/** Secrets shorter than this are not masked: GitLab asks for 8, and masking `1` would eat the trace. */
const leastSecretBytes = 4;
/** Token prefixes of GitLab itself; a payload may name more (`features.token_mask_prefixes`). */
const knownPrefixes = [
  'glpat-',
  'gldt-',
  'glrt-',
  'glrtr-',
  'glcbt-',
  'glptt-',
  'glft-',
  'glimt-',
  'glagent-',
  'gloas-',
  'glsoat-',
  'glffct-',
];

const isTokenByte = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) ||
  (byte >= 0x41 && byte <= 0x5a) ||
  (byte >= 0x61 && byte <= 0x7a) ||
  byte === 0x5f ||
  byte === 0x2d ||
  byte === 0x2e ||
  byte === 0x3d;

interface Span {
  from: number;
  to: number;
  isOpen: boolean;
}

export class Mask {
  readonly #secrets: Buffer[];
  readonly #prefixes: Buffer[];
  readonly #longest: number;
  /** 1 for each byte that begins a secret or a prefix. */
  readonly #firsts = new Uint8Array(256);
  #held: Buffer = Buffer.alloc(0);
  #covered: number;
  #swallowing: boolean;

  constructor(secrets: readonly string[], prefixes: readonly string[] = [], state: MaskState = freshMask) {
    const bytes = [...new Set(secrets)].map((secret) => Buffer.from(secret));
    this.#secrets = bytes.filter((secret) => secret.length >= leastSecretBytes);
    this.#prefixes = [...new Set([...knownPrefixes, ...prefixes])]
      .map((prefix) => Buffer.from(prefix))
      .filter((prefix) => prefix.length >= 3);
    this.#longest = Math.max(0, ...this.#secrets.map((s) => s.length), ...this.#prefixes.map((p) => p.length + 1));
    for (const [first] of [...this.#secrets, ...this.#prefixes]) this.#firsts[first as number] = 1;
    this.#covered = state.covered;
    this.#swallowing = state.swallowing;
  }

  /** Bytes taken in but not decided yet: a resumed mask must be fed from that many bytes earlier. */
  get heldBytes(): number {
    return this.#held.length;
  }

  get state(): MaskState {
    return { covered: this.#covered, swallowing: this.#swallowing };
  }

  /** Takes bytes in; returns those that are certain. */
  push(chunk: Uint8Array): Buffer {
    const data = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    return this.#emit(data, this.#holdFrom(data));
  }

  /** The stream has ended: what is held is no secret any more. */
  flush(): Buffer {
    const out = this.#emit(this.#held, this.#held.length);
    this.#covered = 0;
    this.#swallowing = false;
    return out;
  }

  /** First byte from which data's end may be the beginning of a secret. */
  #holdFrom(data: Buffer): number {
    for (let at = Math.max(0, data.length - this.#longest); at < data.length; at++) {
      if (this.#firsts[data[at] as number] === 0) continue;
      const rest = data.length - at;
      const begins = (whole: Buffer, isWholeTooHeld: boolean): boolean =>
        whole[0] === data[at] &&
        (rest < whole.length || (isWholeTooHeld && rest === whole.length)) &&
        data.compare(whole, 0, rest, at) === 0;
      if (this.#secrets.some((secret) => begins(secret, false))) return at;
      if (this.#prefixes.some((prefix) => begins(prefix, true))) return at;
    }
    return data.length;
  }

  #spans(data: Buffer): Span[] {
    const spans: Span[] = [];
    for (const secret of this.#secrets)
      for (let at = data.indexOf(secret); at !== -1; at = data.indexOf(secret, at + 1))
        spans.push({ from: at, to: at + secret.length, isOpen: false });
    for (const prefix of this.#prefixes)
      for (let at = data.indexOf(prefix); at !== -1; ) {
        const to = tokenEnd(data, at + prefix.length);
        if (to > at + prefix.length) spans.push({ from: at, to, isOpen: to === data.length });
        // One that lies within the token ends where it does: to walk to that end from each takes its length squared.
        at = data.indexOf(prefix, Math.max(at, to - prefix.length) + 1);
      }
    return spans.sort((a, b) => a.from - b.from);
  }

  #emit(data: Buffer, hold: number): Buffer {
    const out: Buffer[] = [];
    let covered = this.#covered;
    let isOpen = this.#swallowing;
    if (isOpen && covered <= data.length) {
      covered = tokenEnd(data, covered);
      isOpen = covered === data.length;
    }
    let written = Math.min(covered, data.length);
    for (const span of this.#spans(data)) {
      if (span.from >= hold) break;
      if (span.from >= covered) {
        out.push(data.subarray(written, span.from), mark);
      }
      covered = Math.max(covered, span.to);
      written = Math.max(written, Math.min(covered, data.length));
      isOpen ||= span.isOpen;
    }
    if (written < hold) out.push(data.subarray(written, hold));
    this.#held = data.subarray(hold);
    this.#covered = Math.max(0, covered - hold);
    this.#swallowing = isOpen;
    return Buffer.concat(out);
  }
}

function tokenEnd(data: Buffer, from: number): number {
  let at = from;
  while (at < data.length && isTokenByte(data[at] as number)) at++;
  return at;
}
