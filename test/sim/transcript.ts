type Line = [at: number, who: string, what: string | (() => string)];

/**
 * Everything that happens, as lines. Two runs of one seed must give the same hash; `--verbose` prints the lines, and a
 * violation shows the last ones. Text that only explains is made when it is shown.
 */
export class Transcript {
  readonly #lines: Line[] = [];
  readonly #print: ((line: string) => void) | null;
  readonly #now: () => number;
  readonly #number = new Float64Array(1);
  readonly #numberBytes = new Uint8Array(this.#number.buffer);
  /** FNV-1a, and its like with another factor: together 64 bits. */
  #one = 0x811c9dc5;
  #other = 0x811c9dc5;

  constructor(now: () => number, print: ((line: string) => void) | null) {
    this.#now = now;
    this.#print = print;
  }

  /** One line: who, and what happened there. */
  say(who: string, what: string): void {
    this.#mixText(what);
    this.#add(who, what);
  }

  /** The same, with words that only explain what is in the hash anyhow. */
  tell(who: string, kind: string, explain: () => string): void {
    this.#mixText(kind);
    this.#add(who, explain);
  }

  #add(who: string, what: Line[2]): void {
    const at = this.#now();
    this.mixNumber(at);
    this.#mixText(who);
    const line: Line = [at, who, what];
    if (this.#print) this.#print(shown(line));
    this.#lines.push(line);
    if (this.#lines.length > 400) this.#lines.splice(0, 300);
  }

  /** Bytes that travelled: in the hash, and in the print only as what `say` tells of them. */
  mix(bytes: Uint8Array): void {
    let one = this.#one;
    let other = this.#other;
    for (let i = 0; i < bytes.length; i += 1) {
      one = Math.imul(one ^ bytes[i]!, 0x01000193);
      other = Math.imul(other ^ bytes[i]!, 0x5bd1e995);
    }
    this.#one = one;
    this.#other = other;
  }

  mixNumber(value: number): void {
    this.#number[0] = value;
    this.mix(this.#numberBytes);
  }

  #mixText(text: string): void {
    let one = this.#one;
    let other = this.#other;
    for (let i = 0; i < text.length; i += 1) {
      one = Math.imul(one ^ text.charCodeAt(i), 0x01000193);
      other = Math.imul(other ^ text.charCodeAt(i), 0x5bd1e995);
    }
    this.#one = one;
    this.#other = other;
  }

  /** The last lines, oldest first. */
  tail(count: number): string[] {
    return this.#lines.slice(-count).map(shown);
  }

  digest(): string {
    return [this.#one, this.#other].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }
}

const shown = ([at, who, what]: Line): string =>
  `${at.toFixed(3).padStart(11)} ${who.padEnd(10)} ${typeof what === 'string' ? what : what()}`;
