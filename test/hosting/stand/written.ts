import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HookDoor } from '../../../node/hosting/push/hook-door.ts';
import { BtrfsReplica } from '../../../node/hosting/replica/btrfs-replica.ts';
import type { Round } from '../../../node/hosting/replica/replica-ports.ts';
import { replicaTools } from '../../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../../node/hosting/replica/round-disk.ts';
import type { RoundHost } from '../../../node/hosting/replica/round-host.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import { newestOf } from '../../../protocol/round-name.ts';
import { installHook } from '../hook-rig.ts';
import { copyAsCut, withCopy } from './image-copy.ts';
import { type Machine, owner, roundsTo } from './machine.ts';
import { checkRepository, Postgres, Pusher, Redis, refsOf } from './writers.ts';

/** What was committed before a round's snapshot was begun: all of it must be in that round. */
interface Promised {
  row: number;
  count: number;
}

/** Each step of a round: what a cut stands before has not been done, all before it has. */
export const roundSteps = [
  /^host: btrfs subvolume snapshot/,
  /^host: sync$/,
  /^host: write/,
  /^standby: btrfs receive/,
  /^standby: within the stream/,
  /^standby: sync$/,
  /^standby: rename the folder/,
  /^standby: write/,
  /^standby: rename the marker/,
  /^standby: sync the marker/,
];

export interface CutFindings {
  /** Pushes that had ended with exit status 0 before the cut. */
  acknowledged: number;
  rows: number;
  missing: string[];
  /** How old what is not there was at most, at the cut: the oldest row, and the oldest count of Redis. */
  lostMs: { rows: number; keys: number };
}

/**
 * A small GitLab without GitLab: a bare repository with the hook, a real PostgreSQL and Redis, files that rows tell of, all
 * writing at once on the host's image, and the rounds of them.
 */
export class Written {
  readonly host: Machine;
  readonly standbys: readonly Machine[];
  readonly rounds: RoundHost;
  readonly acknowledged = new Map<string, string>();
  /** ms of each push, from its start to its exit status. */
  readonly pushMs: number[] = [];
  readonly problems: string[] = [];
  readonly #promised = new Map<string, Promised>();
  /** When each row was committed, and each count answered. */
  readonly #rowAt: number[] = [];
  readonly #countAt: number[] = [];
  readonly #postgres: Postgres;
  readonly #redis: Redis;
  readonly #folder: string;
  readonly #stops: (() => Promise<void>)[] = [];
  #row = 0;
  #count = 0;
  #pushes = 0;
  #stopped = false;

  constructor(
    host: Machine,
    standby: Machine | readonly Machine[],
    folder: string,
    more: Parameters<typeof roundsTo>[4] = {},
  ) {
    this.host = host;
    this.standbys = [standby].flat();
    this.#folder = folder;
    this.#postgres = new Postgres(join(host.live, 'postgres'), join(folder, 'pg'));
    this.#redis = new Redis(join(host.live, 'redis'), join(folder, 'redis.sock'));
    this.rounds = roundsTo(host, this.standbys, (words) => this.problems.push(words), true, more);
    host.tools.before = async (step) => {
      await this.#pass(`host: ${step}`);
      if (step.startsWith('btrfs subvolume snapshot')) this.#promise();
    };
    for (const { tools } of this.standbys) {
      tools.before = (step) => this.#pass(`standby: ${step}`);
      tools.within = (bytes) => (bytes > 10_000 ? this.#pass('standby: within the stream') : Promise.resolve());
    }
  }

  get repository(): string {
    return join(this.host.live, 'git', 'project.git');
  }

  get socket(): string {
    return join(this.#folder, 'door', 'hook.sock');
  }

  /** A new data place, and everybody writes. */
  async begin(pushers = 2, pauseMs = 300): Promise<void> {
    await this.host.open();
    for (const standby of this.standbys) await standby.open();
    await this.host.prepare();
    for (const folder of ['git', 'files']) mkdirSync(join(this.host.live, folder));
    Pusher.makeRepository(this.repository);
    this.#postgres.make();
    await this.#startServers();
    await this.#postgres.ask('create table rows (id int primary key, file text not null)');
    installHook(this.repository, this.socket);
    await this.#openDoor();
    this.rounds.start();
    this.#go(() => this.#writeRows());
    this.#go(() => this.#countKeys());
    for (let at = 0; at < pushers; at++) {
      const pusher = new Pusher(join(this.#folder, `clone-${at}`), this.repository);
      this.#go(() => this.#push(pusher, `p${at}`, pauseMs));
    }
  }

  async #startServers(): Promise<void> {
    await this.#postgres.start();
    this.#stops.push(() => this.#postgres.stop());
    await this.#redis.start();
    this.#stops.push(() => this.#redis.stop());
  }

  async #openDoor(): Promise<void> {
    const door = await HookDoor.open([this.socket], {
      ask: (gone) => this.rounds.ask(gone),
      settled: () => this.rounds.settled(),
      aloneWords: () => 'this push is on one machine only',
      waitWords: () => '',
    });
    this.#stops.push(() => door.close());
    this.#stops.push(() => this.rounds.stop());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const stop of this.#stops.splice(0).reverse())
      await stop().catch((error) => this.problems.push(sentenceOf(error)));
  }

  /** The agent stands before this step, before whichever is next, or in the midst of whatever it does; all who write stand still; all images are copied; all goes on. */
  async cutPower(
    step: RegExp | 'now' | null,
    use: (findings: CutFindings, at: string, machine: string) => void,
  ): Promise<void> {
    const copies = join(this.#folder, 'cut');
    mkdirSync(copies, { recursive: true });
    let free = (): void => {};
    const held = new Promise<void>((resolve) => {
      free = resolve;
    });
    try {
      const at = await this.#holdAt(step, held);
      const servers = [this.#postgres, this.#redis];
      for (const server of servers) server.signal('SIGSTOP');
      const [acknowledged, cutAt] = [new Map(this.acknowledged), performance.now()];
      const machines = [...this.standbys, this.host];
      const copyOf = ({ name }: Machine): string => join(copies, `t-replica-${name}.img`);
      try {
        for (const machine of machines) await copyAsCut(machine.image.path, copyOf(machine));
      } finally {
        for (const server of servers) server.signal('SIGCONT');
      }
      free();
      for (const machine of machines) {
        const found = await this.#look(copyOf(machine), copies, acknowledged, cutAt);
        use(found, `${machine.name} cut before ${at}`, machine.name);
      }
    } finally {
      free();
      rmSync(copies, { recursive: true, force: true });
    }
  }

  #pass: (step: string) => Promise<void> = async () => {};

  #holdAt(step: RegExp | 'now' | null, held: Promise<void>): Promise<string> {
    if (step === 'now') {
      this.#pass = () => held;
      return Promise.resolve('anything');
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the agent never came to ${step ?? 'any step'}`)), 30_000);
      this.#pass = async (now) => {
        if (step !== null && !step.test(now)) return;
        clearTimeout(timer);
        // Whatever step comes now waits with this one.
        this.#pass = () => held;
        resolve(now);
        await held;
      };
    });
  }

  #promise(): void {
    const number = this.host.replica.rounds().at(-1)?.name.number ?? 0;
    this.#promised.set(String(number + 1), { row: this.#row, count: this.#count });
  }

  /** What an agent finds on that image when the power is back, and whether it is all that was promised. */
  async #look(
    image: string,
    folder: string,
    acknowledged: ReadonlyMap<string, string>,
    cutAt: number,
  ): Promise<CutFindings> {
    return withCopy(image, folder, async (mount) => {
      const replica = new BtrfsReplica('hot', mount, {
        owner,
        disk: new RoundDisk(mount, replicaTools),
        tools: replicaTools,
      });
      const newest = newestOf(await replica.open());
      if (!newest) {
        const missing = acknowledged.size === 0 ? [] : ['every round'];
        const all = cutAt - (this.#rowAt[1] ?? cutAt);
        return { acknowledged: acknowledged.size, rows: 0, missing, lostMs: { rows: all, keys: all } };
      }
      const missing: string[] = [];
      const refs = refsOf(join(replica.folderOf(newest), 'git', 'project.git'));
      for (const [ref, commit] of acknowledged)
        if (refs.get(ref) !== commit)
          missing.push(`push ${ref} ${commit.slice(0, 8)}, there: ${refs.get(ref) ?? 'no'}`);
      const { rows, count } = await this.#lookAtClone(mount, replica.folderOf(newest), newest, missing);
      const age = (at: number | undefined): number => (at === undefined ? 0 : Math.max(0, cutAt - at));
      const lostMs = { rows: age(this.#rowAt[rows + 1]), keys: age(this.#countAt[count + 1]) };
      return { acknowledged: acknowledged.size, rows, missing, lostMs };
    });
  }

  async #lookAtClone(
    mount: string,
    from: string,
    round: Round,
    missing: string[],
  ): Promise<{ rows: number; count: number }> {
    const clone = join(mount, 'clone');
    execFileSync('btrfs', ['subvolume', 'snapshot', from, clone], { stdio: 'ignore' });
    const promised = this.#promised.get(String(round.name.number)) ?? { row: 0, count: 0 };
    const postgres = new Postgres(join(clone, 'postgres'), join(this.#folder, 'pg-clone'));
    const redis = new Redis(join(clone, 'redis'), join(this.#folder, 'redis-clone.sock'));
    try {
      checkRepository(join(clone, 'git', 'project.git'));
      await postgres.start();
      const rows = (await postgres.ask('select id from rows order by id')).split('\n').filter((line) => line !== '');
      const last = Number(rows.at(-1) ?? 0);
      if (rows.length !== last) missing.push(`${last - rows.length} rows in the middle`);
      if (last < promised.row) missing.push(`rows ${last + 1} to ${promised.row}`);
      for (const row of rows) {
        const file = join(clone, 'files', row);
        if (!existsSync(file) || readFileSync(file, 'utf8') !== fileText(Number(row)))
          missing.push(`the file of row ${row}`);
      }
      await redis.start();
      const count = await redis.count('written');
      if (count < promised.count) missing.push(`${promised.count - count} of ${promised.count} counts of Redis`);
      return { rows: rows.length, count };
    } finally {
      await postgres.stop();
      await redis.stop();
    }
  }

  #go(write: () => Promise<void>): void {
    const running = write().catch((error) => {
      if (!this.#stopped) this.problems.push(sentenceOf(error));
    });
    this.#stops.push(() => running);
  }

  /** As an application does it: the file first, then the row that tells of it. */
  async #writeRows(): Promise<void> {
    const session = this.#postgres.session();
    while (!this.#stopped) {
      const row = this.#row + 1;
      writeFileSync(join(this.host.live, 'files', String(row)), fileText(row));
      await session.commit(`insert into rows values (${row}, 'files/${row}')`);
      this.#row = row;
      this.#rowAt[row] = performance.now();
      await sleep(20);
    }
    await session.end();
  }

  async #countKeys(): Promise<void> {
    while (!this.#stopped) {
      this.#count = Number((await this.#redis.ask('INCR', 'written')).slice(1));
      this.#countAt[this.#count] = performance.now();
      await sleep(10);
    }
  }

  async #push(pusher: Pusher, name: string, pauseMs: number): Promise<void> {
    while (!this.#stopped) {
      const ref = `${name}-${++this.#pushes}`;
      const commit = pusher.commit(ref);
      const began = performance.now();
      const { code, said } = await pusher.push(ref);
      if (this.#stopped) return;
      if (code === 0) {
        this.acknowledged.set(ref, commit);
        this.pushMs.push(performance.now() - began);
      } else this.problems.push(`push ${ref} ended with ${code}: ${said}`);
      await sleep(pauseMs * (0.5 + Math.random()));
    }
  }
}

/** Longer than what btrfs keeps within its tree, so that a file without its data is seen. */
const fileText = (row: number): string => `${row}\n`.repeat(1000);
