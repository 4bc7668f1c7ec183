import { isIPv4 } from 'node:net';

const bits = (address: string): bigint => address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);

/** Whether an address is of the network of that one, which is of IPv4. */
export function isOnLink(own: { address: string; netmask: string }, other: string): boolean {
  if (!isIPv4(other)) return false;
  const mask = bits(own.netmask);
  return (bits(own.address) & mask) === (bits(other) & mask);
}

const secondMs = 1000;

/** So many a second, and no more: whoever writes another one's address as his own gets nobody flooded. */
export class Sparing {
  readonly #most: number;
  #since = Number.NEGATIVE_INFINITY;
  #count = 0;

  constructor(most: number) {
    this.#most = most;
  }

  may(atMs: number): boolean {
    if (atMs - this.#since >= secondMs) [this.#since, this.#count] = [atMs, 0];
    this.#count += 1;
    return this.#count <= this.#most;
  }
}
