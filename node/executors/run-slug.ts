import { createHash } from 'node:crypto';

/** A run's id as it may stand in a folder's or container's name; ids with other characters get a hash at their end. */
export function runSlug(run: string): string {
  const safe = run.replace(/[^A-Za-z0-9_.-]/g, '-').slice(0, 80);
  if (safe === run && /^[A-Za-z0-9]/.test(run)) return run;
  return `r${safe}-${createHash('sha256').update(run).digest('hex').slice(0, 10)}`;
}
