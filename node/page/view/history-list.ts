import type { BackupRow } from '../../../protocol/asks.ts';
import { backupKind, backupWords, fewer } from '../../faces/backup-words.ts';

interface HistoryLine {
  id: string;
  /** Wall ms; null where nobody says. */
  at: number | null;
  kind: string;
  words: string;
}

const mostLines = 60;

/** What GitLab can be made of again, the newest first, as `autogit-node gitlab history` has it; `more`: which are left out. */
export function historyList(rows: readonly BackupRow[], nowMs: number): { lines: HistoryLine[]; more: number } {
  const told = fewer(rows, nowMs).slice(0, mostLines);
  return {
    lines: told.map((row) => ({
      id: row.id,
      at: row.at === 0 ? null : row.at,
      kind: backupKind(row),
      words: `${backupWords(row)}${row.version === null ? '' : ` · GitLab ${row.version}`}`,
    })),
    more: rows.length - told.length,
  };
}
