import type { BackupRow } from '../../protocol/asks.ts';

/** What GitLab can be made of again is a round, a backup, or what a restore has replaced. */
export const backupKind = ({ id, on }: BackupRow): 'round' | 'replaced' | 'backup' =>
  on ? 'round' : id.startsWith('replaced-') ? 'replaced' : 'backup';

/** Where it is, and whether it is of the GitLab that runs now. */
export const backupWords = ({ isOwn, because }: BackupRow): string =>
  isOwn ? because : `${because}, of another GitLab of this mesh`;

const hourMs = 3_600_000;
const apartMs = 600_000;

/** For a person's eyes: of the last hour's rounds the newest, and one of each ten minutes; none of which nobody says when it was. */
export function fewer(rows: readonly BackupRow[], nowMs: number): BackupRow[] {
  const seen = new Set<number>();
  return rows.filter(({ at, on }) => {
    if (on !== undefined && at === 0) return false;
    if (on === undefined || at < nowMs - hourMs) return true;
    const part = Math.floor(at / apartMs);
    const isFirst = !seen.has(part);
    seen.add(part);
    return isFirst;
  });
}
