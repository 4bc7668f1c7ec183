/** Who a client is for its share: an address of IPv4, or the network of one house of IPv6 (/64). */
export function clientOf(address: string): string {
  const v4 = /^(?:::ffff:)?(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::');
  const groups = head === '' ? [] : head.split(':');
  // `::` stands for the zeros that are missing to eight groups.
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - after.length);
  return [...groups, ...Array<string>(zeros).fill('0'), ...after].slice(0, 4).join(':').toLowerCase();
}

/**
 * A door's connections by client: one may hold as many as are left free, so that alone it has half of them, and others always
 * find room.
 */
export class ClientShare {
  readonly #most: number;
  readonly #held = new Map<string, number>();
  #all = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** False: no more of that client now. True is given back by `leave`. */
  enter(client: string): boolean {
    const held = this.#held.get(client) ?? 0;
    if (held >= this.#most - this.#all) return false;
    this.#held.set(client, held + 1);
    this.#all += 1;
    return true;
  }

  leave(client: string): void {
    const held = (this.#held.get(client) ?? 1) - 1;
    if (held > 0) this.#held.set(client, held);
    else this.#held.delete(client);
    this.#all -= 1;
  }
}
