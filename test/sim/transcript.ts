import { createHash } from 'node:crypto';

/**
 * Everything that happens, as lines. Two runs of one seed must give the same hash; `--verbose` prints the lines, and a
 * violation shows the last ones.
 */
export class Transcript {
  readonly tail: string[] = [];
  readonly #hash = createHash('md5');
  readonly #print: ((line: string) => void) | null;
  #now: () => number;
  #hushed = 0;

  constructor(now: () => number, print: ((line: string) => void) | null) {
    this.#now = now;
    this.#print = print;
  }

  /** One line: who, and what happened there. */
  say(who: string, what: string): void {
    const line = `${this.#now().toFixed(3).padStart(11)} ${who.padEnd(10)} ${what}`;
    this.#hash.update(line);
    this.#hushed += 1;
    if (this.#print) this.#print(line);
    this.tail.push(line);
    if (this.tail.length > 400) this.tail.splice(0, 200);
  }

  /** Bytes that travelled: in the hash, and in the print only as what `say` tells of them. */
  mix(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  get lines(): number {
    return this.#hushed;
  }

  digest(): string {
    return this.#hash.digest('hex');
  }
}
