import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeBackup, snapshotOf } from '../../../node/hosting/vault/backup-run.ts';
import { Restic } from '../../../node/hosting/vault/restic.ts';
import type { LedgerVault } from '../../../protocol/vault.ts';
import { owner } from '../../hosting/stand/machine.ts';
import { type Row, ratioAtMost, row } from '../figures.ts';
import type { ProtectStage } from './protect-stage.ts';
import { randomFile } from './random-file.ts';
import { took, withStand } from './stand.ts';

const password = 'of the bench';

/** A backup by the vault's own code, and its restore, in turn with the same two by restic's command alone. Each into a repository of its own. */
export function vaultRows({ trials, sizeBytes, say }: ProtectStage): Promise<Row[]> {
  const bytes = sizeBytes / 2;
  return withStand([], Math.round(2.3 * bytes) + (500 << 20), async (host, _, folder) => {
    await host.open();
    await host.prepare();
    await randomFile(join(host.live, 'repositories.pack'), bytes / 2);
    await randomFile(join(host.bulk.live, 'artifact.bin'), bytes / 2);
    const { signal } = new AbortController();
    // Neither pays for what was written before.
    took('sync');
    const seconds = { backup: [[], []] as [number[], number[]], restore: [[], []] as [number[], number[]] };
    for (let trial = 0; trial < Math.max(2, trials / 5); trial++) {
      const target = join(folder, 'ours');
      const theirs = join(folder, 'theirs');
      const env = {
        RESTIC_REPOSITORY: theirs,
        RESTIC_PASSWORD: password,
        RESTIC_CACHE_DIR: join(folder, 'cache-theirs'),
      };
      const restic = new Restic({ target, password, credentials: {} }, join(folder, 'cache-ours'));
      await restic.init(signal);
      took('restic init', env);
      const vault = { target, repository: (await restic.id(signal)) as string } as LedgerVault;
      const about = {
        form: 1,
        ...owner,
        meshName: 'bench',
        epoch: 1,
        version: '19.3.0',
        image: 'none',
        at: Date.now(),
      } as const;
      let began = performance.now();
      const id = await makeBackup(
        { vault, restic, say: () => undefined, signal },
        about,
        snapshotOf(host.mount, about),
      );
      seconds.backup[0].push((performance.now() - began) / 1000);
      seconds.backup[1].push(took(`cd '${host.mount}' && restic backup -q live bulk`, env) / 1000);
      const to = join(host.mount, 'restored');
      mkdirSync(to);
      began = performance.now();
      await restic.restore(id, to, signal);
      seconds.restore[0].push((performance.now() - began) / 1000);
      rmSync(to, { recursive: true });
      mkdirSync(to);
      seconds.restore[1].push(took(`restic restore -q latest --verify --target '${to}'`, env) / 1000);
      for (const gone of [to, target, theirs]) rmSync(gone, { recursive: true });
      say(`  ${JSON.stringify(seconds)}`);
    }
    return (['backup', 'restore'] as const).map((what) =>
      row({
        measure: `${what} of ${bytes >> 20} MiB through the vault`,
        unit: 's',
        ours: seconds[what][0],
        against: { name: 'restic alone', values: seconds[what][1] },
        targets: [ratioAtMost(1.1)],
        note:
          what === 'restore'
            ? 'both read again what they wrote (--verify)'
            : 'the whole of it, into an empty repository',
      }),
    );
  });
}
