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
  /** True inside a token found by its prefix, or a value in an address: its characters go on being swallowed. */
  swallowing: boolean;
  /** It is a value in an address. */
  isValue?: boolean;
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
  'gltok-',
  '_gitlab_session=',
];
/** Parameters of an address whose value opens something, as gitlab-runner has them; whatever their case. */
const secretParameters = [
  'private_token',
  'authenticity_token',
  'rss_token',
  'x-amz-signature',
  'x-amz-credential',
  'x-amz-security-token',
].flatMap((name) => ['?', '&'].map((first) => Buffer.from(`${first}${name}=`)));

const lower = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);

/** Do so many bytes from there on spell the parameter's first ones? */
function spells(data: Buffer, at: number, parameter: Buffer, length: number): boolean {
  for (let index = 0; index < length; index++) if (lower(data[at + index] as number) !== parameter[index]) return false;
  return true;
}

const isTokenByte = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) ||
  (byte >= 0x41 && byte <= 0x5a) ||
  (byte >= 0x61 && byte <= 0x7a) ||
  byte === 0x5f ||
  byte === 0x2d ||
  byte === 0x2e ||
  byte === 0x3d;

const isValueByte = (byte: number): boolean => byte > 0x20 && byte !== 0x7f && byte !== 0x3f && byte !== 0x26;

/** What goes on being swallowed. */
type Kind = 'token' | 'value';

interface Span {
  from: number;
  to: number;
  /** What is shown instead. */
  shown: Buffer;
  /** It may go on behind the data's end. */
  open: Kind | null;
}

export class Mask {
  readonly #secrets: Buffer[];
  readonly #prefixes: Buffer[];
  readonly #longest: number;
  /** 1 for each byte that begins a secret or a prefix. */
  readonly #firsts = new Uint8Array(256);
  #held: Buffer = Buffer.alloc(0);
  #covered: number;
  #swallowing: Kind | null;

  constructor(secrets: readonly string[], prefixes: readonly string[] = [], state: MaskState = freshMask) {
    const bytes = [...new Set(secrets)].map((secret) => Buffer.from(secret));
    this.#secrets = bytes.filter((secret) => secret.length >= leastSecretBytes);
    this.#prefixes = [...new Set([...knownPrefixes, ...prefixes])]
      .map((prefix) => Buffer.from(prefix))
      .filter((prefix) => prefix.length >= 3);
    const begins = [...this.#prefixes, ...secretParameters];
    this.#longest = Math.max(0, ...this.#secrets.map((s) => s.length), ...begins.map((p) => p.length + 1));
    for (const [first] of [...this.#secrets, ...begins]) this.#firsts[first as number] = 1;
    this.#covered = state.covered;
    this.#swallowing = !state.swallowing ? null : state.isValue ? 'value' : 'token';
  }

  /** Bytes taken in but not decided yet: a resumed mask must be fed from that many bytes earlier. */
  get heldBytes(): number {
    return this.#held.length;
  }

  get state(): MaskState {
    const isValue = this.#swallowing === 'value';
    return { covered: this.#covered, swallowing: this.#swallowing !== null, ...(isValue && { isValue }) };
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
    this.#swallowing = null;
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
      if (secretParameters.some((one) => rest <= one.length && spells(data, at, one, rest))) return at;
    }
    return data.length;
  }

  #spans(data: Buffer): Span[] {
    const spans: Span[] = [];
    for (const secret of this.#secrets)
      for (let at = data.indexOf(secret); at !== -1; at = data.indexOf(secret, at + 1))
        spans.push({ from: at, to: at + secret.length, shown: mark, open: null });
    for (const prefix of this.#prefixes)
      for (let at = data.indexOf(prefix); at !== -1; ) {
        const to = endOf('token', data, at + prefix.length);
        const open = to === data.length ? 'token' : null;
        if (to > at + prefix.length) spans.push({ from: at, to, shown: mark, open });
        // One that lies within the token ends where it does: to walk to that end from each takes its length squared.
        at = data.indexOf(prefix, Math.max(at, to - prefix.length) + 1);
      }
    for (const first of ['?', '&'])
      for (let at = data.indexOf(first); at !== -1; at = data.indexOf(first, at + 1)) {
        const found = secretParameters.find(
          (one) => at + one.length <= data.length && spells(data, at, one, one.length),
        );
        if (found === undefined) continue;
        const value = at + found.length;
        const to = endOf('value', data, value);
        const shown = Buffer.concat([data.subarray(at, value), mark]);
        if (to > value) spans.push({ from: at, to, shown, open: to === data.length ? 'value' : null });
      }
    return spans.sort((a, b) => a.from - b.from);
  }

  #emit(data: Buffer, hold: number): Buffer {
    const out: Buffer[] = [];
    let covered = this.#covered;
    let open = this.#swallowing;
    if (open !== null && covered <= data.length) {
      covered = endOf(open, data, covered);
      if (covered < data.length) open = null;
    }
    let written = Math.min(covered, data.length);
    for (const span of this.#spans(data)) {
      if (span.from >= hold) break;
      if (span.from >= covered) {
        out.push(data.subarray(written, span.from), span.shown);
      }
      covered = Math.max(covered, span.to);
      written = Math.max(written, Math.min(covered, data.length));
      // A value ends where a token does, or later.
      if (span.open !== null && open !== 'value') open = span.open;
    }
    if (written < hold) out.push(data.subarray(written, hold));
    this.#held = data.subarray(hold);
    this.#covered = Math.max(0, covered - hold);
    this.#swallowing = open;
    return Buffer.concat(out);
  }
}

function endOf(kind: Kind, data: Buffer, from: number): number {
  const isIn = kind === 'token' ? isTokenByte : isValueByte;
  let at = from;
  while (at < data.length && isIn(data[at] as number)) at++;
  return at;
}
