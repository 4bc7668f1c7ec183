import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { SystemTools } from './system-tools.ts';

/**
 * A snapshot is what a power cut leaves. Git never takes its own locks away, and a number of then may be another process now.
 * `data`: what GitLab has as /var/opt/gitlab. By `find`, which follows no link: what another machine sent may lead anywhere.
 */
export async function asAfterPowerCut(data: string, tools: SystemTools): Promise<void> {
  const database = join(data, 'postgresql');
  const repositories = join(data, 'git-data');
  if (existsSync(database))
    await tools.run('find', [
      database,
      ...['-xdev', '-mindepth', '2', '-maxdepth', '2', '-name', 'postmaster.pid', '-delete'],
    ]);
  if (existsSync(repositories))
    await tools.run('find', [
      repositories,
      ...['-xdev', '(', '-name', '*.lock', '-o', '-name', 'gc.pid', ')', '!', '-type', 'd', '-delete'],
    ]);
}
