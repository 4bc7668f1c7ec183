import type { lanAddresses } from './addresses.ts';

type LanAddress = ReturnType<typeof lanAddresses>[number];

const has = (all: readonly LanAddress[], wanted: LanAddress): boolean =>
  all.some(({ address }) => address === wanted.address);

/**
 * Finds the connections of this machine that are dead because it has another address now. An address that is merely gone
 * proves nothing: a cable may be out for a moment, or a Wi-Fi may change its station, and TCP outlives that when the
 * address comes back.
 */
export class OwnLan {
  #now: readonly LanAddress[];
  #gone: readonly LanAddress[] = [];

  constructor(now: readonly LanAddress[]) {
    this.#now = now;
  }

  /** Tells where this machine is now; answers with the subnets (10.0.0.5/24) in which nothing reaches it as it was. */
  moved(now: readonly LanAddress[]): string[] {
    const hasCome = now.some((one) => !has(this.#now, one) && !has(this.#gone, one));
    const gone = [...this.#gone, ...this.#now].filter((one) => !has(now, one));
    this.#now = now;
    this.#gone = hasCome ? [] : gone;
    return hasCome ? gone.map(({ cidr }) => cidr) : [];
  }
}
