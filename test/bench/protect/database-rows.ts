import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Machine, roundsTo } from '../../hosting/stand/machine.ts';
import { Postgres } from '../../hosting/stand/writers.ts';
import { type Row, ratioAtMost, row } from '../figures.ts';
import type { ProtectStage } from './protect-stage.ts';
import { overTheWire, postgresProgram, withStand } from './stand.ts';

const exec = promisify(execFile);
const stretchSeconds = 6;

/** pgbench's own transactions, on the database that is there. */
class Load {
  readonly #sockets: string;
  readonly #folder: string;

  constructor(sockets: string, folder: string) {
    this.#sockets = sockets;
    this.#folder = join(folder, 'pgbench');
  }

  async #run(...args: string[]): Promise<string> {
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder);
    const where = ['-h', this.#sockets, '-U', 'postgres', 'postgres'];
    const { stdout } = await exec(postgresProgram('pgbench'), [...args, ...where], { cwd: this.#folder });
    return stdout;
  }

  make = (): Promise<string> => this.#run('-i', '-q', '-s', '10');

  /** Transactions a second, as many as there can be. */
  async full(): Promise<number> {
    const said = await this.#run('-n', '-c', '4', '-T', String(stretchSeconds));
    return Number(/tps = ([\d.]+)/.exec(said)?.[1]);
  }

  /** p95 of a transaction at so many a second, ms; what waits for its turn counts. */
  async p95(rate: number): Promise<number> {
    await this.#run('-n', '-c', '4', '-T', String(stretchSeconds), '-R', String(rate), '-l');
    const ms = readdirSync(this.#folder)
      .flatMap((file) => readFileSync(join(this.#folder, file), 'utf8').trim().split('\n'))
      .map((line) => Number(line.split(' ')[2]) / 1000)
      .sort((a, b) => a - b);
    return ms[Math.floor(0.95 * ms.length)] ?? Number.NaN;
  }
}

/** A database at half of its speed, in turn with a round each 5 s and without any. */
export function databaseRows({ trials, say }: ProtectStage): Promise<Row[]> {
  return withStand(['standby'], 1500 << 20, async (host, others, folder) => {
    const standby = others[0] as Machine;
    await host.open();
    await standby.open();
    await host.prepare();
    const sockets = join(folder, 'pg');
    const postgres = new Postgres(join(host.live, 'postgres'), sockets);
    const wire = overTheWire();
    let free = (): void => {};
    let held: Promise<void> = Promise.resolve();
    host.tools.before = () => held;
    const hold = (): void => {
      held = new Promise((resolve) => (free = resolve));
    };
    try {
      postgres.make();
      // As GitLab's image has it: no checkpoint each few seconds.
      await postgres.start(['shared_buffers=128MB', 'max_wal_size=1GB', 'checkpoint_timeout=5min']);
      const load = new Load(sockets, folder);
      await load.make();
      const rounds = roundsTo(host, standby, say, true, { standbyOf: wire.standbyOf });
      rounds.start();
      hold();
      await load.full();
      const rate = Math.round((await load.full()) / 2);
      const [ours, theirs]: [number[], number[]] = [[], []];
      for (let trial = 0; trial < trials; trial++) {
        theirs.push(await load.p95(rate));
        free();
        ours.push(await load.p95(rate));
        hold();
        say(
          `  ${trial + 1} of ${trials}: ${ours.at(-1)?.toFixed(2)} ms with rounds, ${theirs.at(-1)?.toFixed(2)} without`,
        );
      }
      const made = host.replica.rounds().length;
      free();
      await rounds.stop();
      return [
        row({
          measure: `p95 of a transaction at half of full speed (${rate} a second), with a round each 5 s`,
          unit: 'ms',
          ours,
          against: { name: 'without rounds', values: theirs },
          targets: [ratioAtMost(1.2)],
          note: `pgbench, ${stretchSeconds} s in turn, ${made} rounds; the standby receives on the same two cores and disk`,
        }),
      ];
    } finally {
      wire.close();
      free();
      await postgres.stop();
    }
  });
}
