import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Standby } from '../../../node/hosting/replica/replica-ports.ts';
import { fieldsOfStat } from '../../../node/machine/processes.ts';
import type { Machine } from '../../hosting/stand/machine.ts';
import { roundsTo } from '../../hosting/stand/machine.ts';
import { Postgres, Redis } from '../../hosting/stand/writers.ts';
import { maxUnder, type Row, row } from '../figures.ts';
import type { ProtectStage } from './protect-stage.ts';
import { withStand } from './stand.ts';

/** Seconds of CPU of this process and of all its children that have ended: the programs that a round runs. */
function spent(): number {
  const fields = fieldsOfStat(readFileSync('/proc/self/stat', 'utf8'));
  return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0) / 100;
}

interface Writing {
  name: string;
  most: number;
  /** ms between two writes; null: none. */
  everyMs: number | null;
}

const writings: readonly Writing[] = [
  { name: 'nothing written', most: 0.5, everyMs: null },
  { name: 'a row and a key each 5 s', most: 2, everyMs: 5000 },
  { name: '5 writes a second', most: 4, everyMs: 200 },
];

/** A standby that throws away what it is brought: what it costs is not the host's. */
function swallowing(): Machine['standby'] {
  const held: Awaited<ReturnType<Standby['held']>> = [];
  return {
    node: 'standby',
    held: async () => held.slice(-1),
    take: async (round, { stream, done }) => {
      for await (const _ of stream);
      await done;
      held.push({ name: round.name, uuid: round.uuid });
    },
  };
}

/** What rounds cost their host: its own process, and each program that it runs. Without the kernel's own threads. */
export function costRows({ trials, say }: ProtectStage): Promise<Row[]> {
  return withStand(['standby'], 500 << 20, async (host, others, folder) => {
    await host.open();
    await host.prepare();
    const postgres = new Postgres(join(host.live, 'postgres'), join(folder, 'pg'));
    const redis = new Redis(join(host.live, 'redis'), join(folder, 'redis.sock'));
    postgres.make();
    await postgres.start();
    await redis.start();
    const session = postgres.session();
    const rows: Row[] = [];
    try {
      await session.commit('create table rows (id serial primary key, words text)');
      const rounds = roundsTo(host, others[0] as Machine, say, true, { standbyOf: swallowing });
      const ms = 1500 * trials;
      const during = async ({ everyMs }: Writing): Promise<number> => {
        let isOver = false;
        const writing = (async () => {
          while (everyMs !== null && !isOver) {
            await session.commit("insert into rows (words) values ('some words')");
            await redis.ask('INCR', 'written');
            await sleep(everyMs);
          }
        })();
        const [before, began] = [spent(), performance.now()];
        await sleep(ms);
        const percent = ((spent() - before) / (performance.now() - began)) * 100_000;
        isOver = true;
        await writing;
        return percent;
      };
      const bare: number[] = [];
      for (const writing of writings) bare.push(await during(writing));
      rounds.start();
      await sleep(10_000);
      const newest = (): number => host.replica.rounds().at(-1)?.name.number ?? 0;
      for (const [at, writing] of writings.entries()) {
        const first = newest();
        const percent = (await during(writing)) - (bare[at] as number);
        say(`  ${writing.name}: ${percent.toFixed(2)} % of a core`);
        rows.push(
          row({
            measure: `host's cost of rounds: ${writing.name}`,
            unit: '% of a core',
            ours: [percent],
            targets: [maxUnder(writing.most)],
            note: `${ms / 1000} s, ${newest() - first} rounds; beyond what the same writing costs without rounds (${(bare[at] as number).toFixed(2)} %)`,
          }),
        );
      }
      await rounds.stop();
      return rows;
    } finally {
      await session.end();
      await redis.stop();
      await postgres.stop();
    }
  });
}
