import { z } from 'zod';
import type { ServiceHost } from '../service-host.ts';

/** Rails' names of the states, by number: 3 finished, 4 failed, 6 finalized (GitLab's docs, "Check migrations before upgrade"). */
const question =
  'SELECT count(*) FILTER (WHERE status NOT IN (3, 4, 6)), count(*) FILTER (WHERE status = 4) FROM batched_background_migrations';

const psqlMs = 60_000;
const Counts = z.tuple([z.coerce.number().int(), z.coerce.number().int()]);

interface Migrations {
  /** Under way, or yet to begin. */
  waiting: number;
  /** Which GitLab does not try again by itself. */
  failed: number;
}

/** What the last upgrade has left to do, which must be over before the next; null where GitLab's database does not say. */
export async function backgroundMigrations(host: Pick<ServiceHost, 'exec'>, id: string): Promise<Migrations | null> {
  const argv = ['gitlab-psql', '-d', 'gitlabhq_production', '-At', '-F', ' ', '-c', question];
  const { code, out } = await host.exec(id, argv, { timeoutMs: psqlMs });
  const found = /^(\d{1,9}) (\d{1,9})$/m.exec(out.replace(/\r/g, ''));
  if (code !== 0 || found === null) return null;
  const [waiting, failed] = Counts.parse(found.slice(1));
  return { waiting, failed };
}
