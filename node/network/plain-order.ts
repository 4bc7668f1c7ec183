/**
 * In an agent `localeCompare` orders by code units. libp2p's peer store sorts addresses and protocols by it at each connection, and with the
 * first call V8 loads ICU's collation, 3 MiB of each agent. They need an order that is always the same, not one of a language; nothing
 * of an agent is sorted for somebody who reads.
 */
export function orderPlainly(): void {
  Object.defineProperty(String.prototype, 'localeCompare', {
    value(this: string, other: string): number {
      const [one, two] = [String(this), String(other)];
      if (one === two) return 0;
      return one < two ? -1 : 1;
    },
    writable: true,
    configurable: true,
  });
}
