import { networkInterfaces } from 'node:os';
import type { Log } from '../../log.ts';
import { lanAddresses } from '../../network/addresses.ts';
import { MdnsSockets } from '../../network/mdns-sockets.ts';
import {
  type Asked,
  heardOf,
  type NameAddresses,
  nameAnswer,
  nameGoodbye,
  nameProbe,
  plainAnswer,
} from './name-packets.ts';
import { isOnLink, Sparing } from './on-link.ts';

const timings = {
  lookMs: 250,
  interfacesMs: 1000,
  /** Whoever has the name answers to one of these (RFC 6762 §8.1). */
  probesMs: [0, 250, 500],
  probedMs: 750,
  /** It is said unasked so often after it began. */
  announceMs: [0, 250, 1000, 3000],
  /** Answers, and what is said against another one, come no faster. */
  answerGapMs: 100,
  againMs: 500,
  /** Answers in a second to who asks as one asks a DNS server. */
  plainMost: 50,
  /** A stranger who goes on to say that the name is his has it; later it is asked whether he still does. */
  strangerTimes: 3,
  strangerMs: 10_000,
  yieldMs: 60_000,
  mdnsPort: 5353,
} as const;

interface LocalNameOptions {
  self: string;
  log: Pick<Log, 'info' | 'warn'>;
  /** Such as home.local; null where the mesh's name makes none. */
  name(): string | null;
  /** Looked at before each answer: whether this machine is the one, and as what. */
  duty(): 'host' | 'leader' | null;
}

type State = 'away' | 'probing' | 'held' | 'yielded';

/**
 * Answers to the mesh's name by mDNS on the machine that serves GitLab, beside whatever else of this machine speaks mDNS. mDNS itself lets
 * whoever speaks last win, so who hears a machine of before say it says it again.
 */
export class LocalName {
  readonly #options: LocalNameOptions;
  readonly #sockets = new MdnsSockets((packet, from, port) => this.#heard(packet, from, port));
  #state: State = 'away';
  #since = 0;
  #sent = 0;
  readonly #plain = new Sparing(timings.plainMost);
  #answeredAt = Number.NEGATIVE_INFINITY;
  #isAnswering = false;
  #saidAgainAt = Number.NEGATIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #name: string | null = null;
  /** When a stranger said that the name is his, lately, and where he is. */
  #stranger: { at: number[]; address: string } = { at: [], address: '' };
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LocalNameOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), timings.lookMs).unref();
    this.#look();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#leave();
    // What was handed to the sockets is sent first.
    setTimeout(() => this.#sockets.close(), timings.answerGapMs);
  }

  /** Why the name leads nowhere of ours; null while nothing is known against it. */
  get problem(): string | null {
    if (this.#state !== 'away' && this.#sockets.problem !== null) return this.#sockets.problem;
    if (this.#state !== 'yielded') return null;
    return `${this.#name} is the name of another machine too, at ${this.#stranger.address}, and is left to it: GitLab is reached by its address, or call that machine, or the mesh, by another name`;
  }

  #look(): void {
    const now = performance.now();
    const name = this.#options.name();
    if (name !== this.#name) this.#leave();
    this.#name = name;
    if (name === null || this.#options.duty() === null) return this.#leave();
    if (now - this.#lookedAt >= timings.interfacesMs) {
      this.#lookedAt = now;
      void this.#sockets.use([...ownAddresses().keys()]);
    }
    if (this.#state === 'away' || (this.#state === 'yielded' && now - this.#since >= timings.yieldMs))
      this.#become('probing');
    const passed = now - this.#since;
    if (this.#state === 'probing') this.#probe(name, passed);
    else if (this.#state === 'held') this.#announceDue(passed);
  }

  #probe(name: string, passed: number): void {
    if (passed >= timings.probedMs) {
      this.#become('held');
      this.#options.log.info(`this machine answers to ${name}`);
      return this.#announceDue(0);
    }
    if (passed < (timings.probesMs[this.#sent] ?? Number.POSITIVE_INFINITY)) return;
    this.#sent += 1;
    this.#sockets.send(nameProbe(name));
  }

  #announceDue(passed: number): void {
    if (passed < (timings.announceMs[this.#sent] ?? Number.POSITIVE_INFINITY)) return;
    this.#sent += 1;
    this.#say();
  }

  #become(state: State): void {
    this.#state = state;
    this.#since = performance.now();
    this.#sent = 0;
    if (state === 'probing') this.#stranger = { at: [], address: '' };
  }

  /** What others remember of it is over at once. */
  #leave(): void {
    if (this.#state === 'away') return;
    if (this.#state === 'held') this.#send(nameGoodbye);
    this.#state = 'away';
    this.#lookedAt = Number.NEGATIVE_INFINITY;
    // Who does not answer need not read what the LAN says. What was handed to the sockets is sent first.
    setTimeout(() => {
      if (this.#state === 'away') void this.#sockets.use([]);
    }, timings.answerGapMs).unref();
  }

  /** By each interface with the addresses that it has. */
  #send(packet: (name: string, node: string, at: NameAddresses) => Uint8Array): void {
    if (this.#name === null) return;
    for (const [by, at] of ownAddresses()) this.#sockets.sendBy(by, packet(this.#name, this.#options.self, at));
  }

  #say(): void {
    if (this.#state !== 'held' || this.#options.duty() === null) return;
    this.#answeredAt = performance.now();
    this.#send(nameAnswer);
  }

  #heard(packet: Buffer, from: string, port: number): void {
    if (this.#name === null || this.#state === 'away') return;
    const heard = heardOf(this.#name, packet);
    if (heard?.kind === 'asked') this.#asked(heard, from, port);
    else if (heard?.kind === 'said') this.#said(heard.addresses, heard.node);
  }

  #asked(asked: Asked, from: string, port: number): void {
    if (this.#state !== 'held' || this.#options.duty() === null || this.#name === null) return;
    if (port !== timings.mdnsPort) {
      // Of what is not on the link nobody asks by mDNS (RFC 6762 §11): an address that is another one's would get the answers.
      const [by, at] =
        [...ownAddresses()].find(([, { networks }]) => networks.some((one) => isOnLink(one, from))) ?? [];
      if (by !== undefined && at !== undefined && this.#plain.may(performance.now()))
        this.#sockets.sendBy(by, plainAnswer(this.#name, this.#options.self, at, asked), { address: from, port });
      return;
    }
    const own = [...ownAddresses().values()];
    if (own.some(({ v4, v6 }) => [...v4, ...v6].every((one) => asked.known.includes(one)))) return;
    this.#answerSoon();
  }

  /** Everybody hears an answer, whoever asked. */
  #answerSoon(): void {
    if (this.#isAnswering) return;
    const waitMs = this.#answeredAt + timings.answerGapMs - performance.now();
    if (waitMs <= 0) return this.#say();
    this.#isAnswering = true;
    setTimeout(() => {
      this.#isAnswering = false;
      this.#say();
    }, waitMs).unref();
  }

  #said(addresses: readonly string[], node: string | null): void {
    const own = [...ownAddresses().values()].flatMap(({ v4, v6 }) => [...v4, ...v6]);
    const others = addresses.filter((one) => !own.includes(one));
    // People know machines by it.
    const other = others.find((one) => one.includes('.')) ?? others[0];
    if (node === this.#options.self || other === undefined) return;
    if (node === null) this.#strangerSaid(other);
    // Of two machines of the mesh the host has it, whoever hears what too late.
    else if (this.#options.duty() !== 'host') return;
    const now = performance.now();
    if (this.#state !== 'held' || now - this.#saidAgainAt < timings.againMs) return;
    this.#saidAgainAt = now;
    this.#say();
  }

  #strangerSaid(address: string): void {
    const now = performance.now();
    const at = [...this.#stranger.at.filter((one) => now - one < timings.strangerMs), now].slice(
      -timings.strangerTimes,
    );
    this.#stranger = { at, address: this.#stranger.address.includes('.') ? this.#stranger.address : address };
    if (this.#state === 'yielded') return;
    if (this.#state === 'held' && at.length < timings.strangerTimes) return;
    if (this.#state === 'held') this.#send(nameGoodbye);
    this.#become('yielded');
    this.#options.log.warn(this.problem ?? '');
  }
}

interface OwnAddresses extends NameAddresses {
  /** Of IPv4. */
  networks: readonly { address: string; netmask: string }[];
}

/** By the IPv4 address of each interface by which it is said. Of IPv6 none of the link: without its interface it leads nowhere. */
export function ownAddresses(): Map<string, OwnAddresses> {
  const all = networkInterfaces();
  const found = new Map<string, OwnAddresses>();
  for (const { name, address } of lanAddresses(all)) {
    if (!address.includes('.') || [...found.values()].some(({ v4 }) => v4.includes(address))) continue;
    const list = all[name] ?? [];
    const v4 = list.filter(({ family }) => family === 'IPv4');
    const v6 = list.filter(({ family, address: one }) => family === 'IPv6' && !one.startsWith('fe80:'));
    found.set(address, { v4: v4.map((one) => one.address), v6: v6.map((one) => one.address), networks: v4 });
  }
  return found;
}
