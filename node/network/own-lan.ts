import type { lanAddresses } from './addresses.ts';

type LanAddress = ReturnType<typeof lanAddresses>[number];

const has = (all: readonly LanAddress[], wanted: LanAddress): boolean =>
  all.some(({ address }) => address === wanted.address);

/**
 * Which connections of this machine are dead because it has another address now. One that is merely gone says nothing:
 * a cable is out for a moment, a Wi-Fi finds its next station, and TCP outlives that if the address comes back.
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
