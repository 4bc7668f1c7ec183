import { createHash } from 'node:crypto';

type Line = [at: number, who: string, what: string];

/**
 * Everything that happens, as lines. Two runs of one seed must give the same hash; `--verbose` prints the lines, and a
 * violation shows the last ones. Lines and bytes are gathered and hashed in large pieces; text is made only when shown.
 */
export class Transcript {
  readonly #lines: Line[] = [];
  readonly #hash = createHash('md5');
  readonly #print: ((line: string) => void) | null;
  readonly #now: () => number;
  readonly #gathered = Buffer.allocUnsafe(1 << 18);
  #filled = 0;

  constructor(now: () => number, print: ((line: string) => void) | null) {
    this.#now = now;
    this.#print = print;
  }

  /** One line: who, and what happened there. */
  say(who: string, what: string): void {
    const at = this.#now();
    this.#room(3 * (who.length + what.length) + 8);
    this.#filled = this.#gathered.writeDoubleLE(at, this.#filled);
    this.#filled += this.#gathered.write(who, this.#filled);
    this.#filled += this.#gathered.write(what, this.#filled);
    const line: Line = [at, who, what];
    if (this.#print) this.#print(shown(line));
    this.#lines.push(line);
    if (this.#lines.length > 400) this.#lines.splice(0, 300);
  }

  /** Bytes that travelled: in the hash, and in the print only as what `say` tells of them. */
  mix(bytes: Uint8Array): void {
    if (bytes.byteLength > 1 << 16) {
      this.#flush();
      this.#hash.update(bytes);
      return;
    }
    this.#room(bytes.byteLength);
    this.#gathered.set(bytes, this.#filled);
    this.#filled += bytes.byteLength;
  }

  #room(bytes: number): void {
    if (this.#filled + bytes > this.#gathered.byteLength) this.#flush();
  }

  #flush(): void {
    this.#hash.update(this.#gathered.subarray(0, this.#filled));
    this.#filled = 0;
  }

  /** The last lines, oldest first. */
  tail(count: number): string[] {
    return this.#lines.slice(-count).map(shown);
  }

  digest(): string {
    this.#flush();
    return this.#hash.digest('hex');
  }
}

const shown = ([at, who, what]: Line): string => `${at.toFixed(3).padStart(11)} ${who.padEnd(10)} ${what}`;
