import type { Lan } from '../e2e/namespaces.ts';
import { sleep, until } from '../e2e/rig.ts';
import { places } from './bench-lan.ts';
import { PeerProcess } from './peer-process.ts';

const members = [0, 1, 2] as const;

/** Three agents of serf with its LAN profile, started together, one a machine of the LAN. */
export class Serf {
  readonly #lan: Lan;
  readonly #processes: PeerProcess[];
  readonly #known = new Map(members.map((member) => [member as number, new Set([`s${member}`])]));
  /** Who said of whom that it failed, and when (performance.now). */
  readonly failures: { by: number; of: number; at: number }[] = [];
  /** When the last of them knew all (performance.now); NaN until then. */
  fullAt = Number.NaN;
  readonly startedAt = performance.now();

  /** `mdns`: they find each other, and `direct`: they are told the first one's address. */
  constructor(lan: Lan, how: 'mdns' | 'direct') {
    this.#lan = lan;
    this.#processes = members.map((member) => this.#spawn(member, how));
  }

  /** ms from spawn to full membership everywhere; NaN when it took longer than `limitMs`. */
  async formed(limitMs: number): Promise<number> {
    while (Number.isNaN(this.fullAt) && performance.now() - this.startedAt < limitMs) await sleep(5);
    return this.fullAt - this.startedAt;
  }

  /** ms from now until both others have said that this one failed. */
  async loses(member: number, how: 'killed' | 'unplugged'): Promise<number> {
    const began = performance.now();
    if (how === 'killed') void (this.#processes[member] as PeerProcess).kill();
    else this.#lan.unplug(places.serf + member);
    const others = members.filter((other) => other !== member);
    const told = (by: number) => this.failures.find((one) => one.by === by && one.of === member && one.at >= began);
    await until('serf notices', () => others.every((by) => told(by) !== undefined));
    return Math.max(...others.map((by) => (told(by)?.at ?? Number.NaN) - began));
  }

  pids(): number[] {
    return this.#processes.map((process) => process.pid);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.kill()));
  }

  #spawn(member: number, how: 'mdns' | 'direct'): PeerProcess {
    const machine = places.serf + member;
    const first = `-retry-join=${this.#lan.address(places.serf)}`;
    const direct = member === 0 ? [] : [first, '-retry-interval=1s'];
    const args = [
      'agent',
      `-node=s${member}`,
      `-bind=${this.#lan.address(machine)}:7946`,
      '-rpc-addr=127.0.0.1:7373',
      '-profile=lan',
      '-log-level=info',
      ...(how === 'mdns' ? ['-discover=autogit-bench', '-iface=eth0'] : direct),
    ];
    return new PeerProcess(this.#lan.namespace(machine), 'serf', args, (line, at) => this.#heard(member, line, at));
  }

  #heard(by: number, line: string, at: number): void {
    const joined = /EventMemberJoin: (s\d)/.exec(line)?.[1];
    const failed = /EventMemberFailed: s(\d)/.exec(line)?.[1];
    if (joined !== undefined) this.#known.get(by)?.add(joined);
    if (failed !== undefined) this.failures.push({ by, of: Number(failed), at });
    const isFull = members.every((member) => this.#known.get(member)?.size === members.length);
    if (isFull && Number.isNaN(this.fullAt)) this.fullAt = at;
  }
}
