import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { shellQuoted } from '../../../gitlab-bridge/variables.ts';
import type { Attention } from '../../../protocol/status.ts';

/** Of repositories that are kept for another machine, in the home of the agent that keeps them. */
export const keptFolder = 'gitlab-vault';

/** Those that nothing is added to any more: nobody deletes them but a person, who has to hear of them first. `used`: the one that is. */
export function leftRepositories(home: string, used: string | null): Attention[] {
  return foldersIn(join(home, keptFolder)).flatMap((name): Attention[] => {
    const path = join(home, keptFolder, name);
    if (path === used || !existsSync(join(path, 'repository', 'config'))) return [];
    return [
      {
        code: 'gitlab-vault-left',
        severity: 'warn',
        sentence: `backups of GitLab that none is added to any more lie in ${path}; they may be the last ones`,
        fix: `when nobody needs them: sudo rm -r ${/^[\w./@:-]+$/.test(path) ? path : shellQuoted(path)}`,
      },
    ];
  });
}

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // None was ever kept here.
  }
}
