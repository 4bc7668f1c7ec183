import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Machine, roundsTo } from '../../hosting/stand/machine.ts';
import { Postgres } from '../../hosting/stand/writers.ts';
import { maxUnder, type Row, row } from '../figures.ts';
import type { ProtectStage } from './protect-stage.ts';
import { randomFile } from './random-file.ts';
import { overTheWire, postgresProgram, resticIn, took, withStand } from './stand.ts';

/** Of the data a quarter is the database, as pgbench makes it: about 15 MiB for each of its scale. */
const perScale = 15 << 20;
const restores = 2;

async function answers(postgres: Postgres): Promise<void> {
  await postgres.start();
  const count = Number(await postgres.ask('select count(*) from pgbench_branches'));
  if (!(count > 0)) throw new Error('the database answers, and is empty');
}

function serveRow(bytes: number, { trials, say }: ProtectStage): Promise<Row[]> {
  return withStand(['standby'], Math.round(2.2 * bytes) + (800 << 20), async (host, others, folder) => {
    const standby = others[0] as Machine;
    await host.open();
    await standby.open();
    await host.prepare();
    const sockets = join(folder, 'pg');
    const postgres = new Postgres(join(host.live, 'postgres'), sockets);
    const wire = overTheWire();
    const ours: number[] = [];
    const theirs: number[] = [];
    try {
      postgres.make();
      await postgres.start();
      const scale = String(Math.max(1, Math.round(bytes / 4 / perScale)));
      execFileSync(postgresProgram('pgbench'), ['-i', '-q', '-s', scale, '-h', sockets, '-U', 'postgres', 'postgres'], {
        stdio: 'ignore',
      });
      await randomFile(join(host.live, 'repositories.pack'), 0.75 * bytes);
      const rounds = roundsTo(host, standby, say, true, { standbyOf: wire.standbyOf });
      rounds.start();
      // It is written to until the round is taken: the standby begins where a power cut would leave it.
      const load = ['-n', '-c', '2', '-T', '3', '-h', sockets, '-U', 'postgres', 'postgres'];
      execFileSync(postgresProgram('pgbench'), load, { stdio: 'ignore' });
      await rounds.ask(new AbortController().signal);
      await rounds.stop();
      const newest = standby.replica.rounds().at(-1);
      if (!newest) throw new Error('no round is on the standby');
      for (let trial = 0; trial < Math.min(trials, 10); trial++) {
        const clone = join(standby.mount, 'clone');
        const began = performance.now();
        took(`btrfs subvolume snapshot '${standby.replica.folderOf(newest)}' '${clone}'`);
        const copy = new Postgres(join(clone, 'postgres'), join(folder, 'pg-clone'));
        await answers(copy);
        ours.push((performance.now() - began) / 1000);
        await copy.stop();
        took(`btrfs subvolume delete '${clone}'`);
      }
      const env = resticIn(folder);
      took(`cd '${standby.replica.folderOf(newest)}' && restic backup -q .`, env);
      for (let trial = 0; trial < restores; trial++) {
        const to = join(standby.mount, 'restored');
        mkdirSync(to);
        execFileSync('chmod', ['711', to]);
        const began = performance.now();
        took(`restic restore -q latest --target '${to}'`, env);
        const copy = new Postgres(join(to, 'postgres'), join(folder, 'pg-clone'));
        await answers(copy);
        theirs.push((performance.now() - began) / 1000);
        await copy.stop();
        rmSync(to, { recursive: true });
      }
      return [
        row({
          measure: `newest round -> database answers on the standby, ${(bytes / 2 ** 30).toFixed(1)} GiB`,
          unit: 's',
          ours,
          against: { name: 'restic restore of the same', values: theirs },
          targets: [maxUnder(5)],
          note: 'a quarter is a database that was written to until the round, which recovers as after a power cut',
        }),
      ];
    } finally {
      wire.close();
      await postgres.stop();
    }
  });
}

/** `serve-1` and `serve-10`: half and five times `--size`. */
export async function serveRows(stage: ProtectStage): Promise<Row[]> {
  const rows: Row[] = [];
  if (stage.wants('serve') || stage.wants('serve-1')) rows.push(...(await serveRow(stage.sizeBytes / 2, stage)));
  if (stage.wants('serve') || stage.wants('serve-10')) rows.push(...(await serveRow(5 * stage.sizeBytes, stage)));
  return rows;
}
