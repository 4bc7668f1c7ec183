import { readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { makeFolder } from '../../store/home.ts';
import type { ServiceHost } from '../service-host.ts';
import { systemTools } from '../system-tools.ts';
import type { BackupSource } from '../vault/backup-run.ts';
import { endOwnRun } from './own-run.ts';
import { dropFile } from './own-source.ts';
import { dropSnapshot } from './snapshot-source.ts';

/** What a backup makes beside its owner's data, for as long as it is read. */
const Made = z.object({ snapshot: z.string().startsWith('/') }).or(
  z.object({
    file: z.string().startsWith('/'),
    /** What writes it, and where; absent in the note of an earlier version. */
    run: z.object({ container: z.string(), name: z.string() }).optional(),
  }),
);
type Made = z.infer<typeof Made>;

const noteIn = (home: string): string => join(home, 'gitlab-protect', 'made.json');

/**
 * That source, with a note of what it makes, written before it is made: an agent that is killed leaves it there, and the next one
 * finds it by the note alone, also when nobody protects that GitLab any more. What was half made when it failed is gone.
 */
export function noted(home: string, made: Made, source: BackupSource): BackupSource {
  const note = noteIn(home);
  const drop = async (): Promise<void> => {
    await source.drop();
    rmSync(note, { force: true });
  };
  return {
    async take() {
      makeFolder(dirname(note), 0o700);
      await systemTools.write(note, JSON.stringify(made));
      await systemTools.syncFolder(dirname(note));
      try {
        return await source.take();
      } catch (error) {
        // Its own failure is the one to be told; what does not go now goes with the next agent or the next try.
        await drop().catch(() => undefined);
        throw error;
      }
    },
    drop,
  };
}

/** What an agent that was killed has left, once what still writes it has ended. */
export async function dropNoted(home: string, host: Pick<ServiceHost, 'exec'>): Promise<void> {
  const note = noteIn(home);
  const made = read(note);
  if (made !== null && 'snapshot' in made) await dropSnapshot(made.snapshot);
  if (made !== null && 'file' in made) {
    // It would go on for hours, and write the file again.
    if (made.run) await endOwnRun(host, made.run.container, made.run.name);
    await dropFile(made.file);
  }
  rmSync(note, { force: true });
}

/** Null where there is none, or one that was cut off before anything was made. */
function read(note: string): Made | null {
  try {
    return Made.parse(JSON.parse(readFileSync(note, 'utf8')));
  } catch {
    return null;
  }
}
