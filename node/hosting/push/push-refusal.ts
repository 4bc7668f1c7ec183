import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { Log } from '../../log.ts';
import { replaceFileNow } from '../replace-file-now.ts';
import { forTerminal } from './hook-door.ts';
import { refusalFile } from './push-hook.ts';

interface RefusalOptions {
  home: string;
  log: Pick<Log, 'warn'>;
  /** Why no push is taken; null while each is. */
  whyNoPush(): string | null;
}

/**
 * That no push is taken, for the hook while no agent answers it: one that starts leaves what it finds until it knows its ledger. On the
 * disk when it returns; that it could not be is said. Called where the ledger is known, and names this machine as GitLab's host.
 */
export function keepRefusal({ home, log, whyNoPush }: RefusalOptions): void {
  const [file, why] = [refusalFile(home), whyNoPush()];
  const text = why === null ? null : `${forTerminal(why)}\n`;
  try {
    if ((existsSync(file) ? readFileSync(file, 'utf8') : null) === text) return;
    if (text === null) return rmSync(file, { force: true });
    replaceFileNow(file, text);
    // Whoever pushes reads it, as the repositories' user.
    chmodSync(file, 0o644);
  } catch (error) {
    log.warn(`whether pushes are taken could not be written down: ${sentenceOf(error)}`);
  }
}
