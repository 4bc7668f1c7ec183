import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { HostedGitlab } from '../../../protocol/ledger-gitlab.ts';
import { replaceFileNow } from '../replace-file-now.ts';

const Restart = z.object({ Name: z.string(), MaximumRetryCount: z.number().optional() });

/**
 * How far the taking over of a container is, on the disk before each step of it.
 *
 *     parking -> copying -> asking -> booting -> served -> done
 *        \\__________\\_________\\________\\-> returning -> returned
 */
export const Adoption = z.object({
  step: z.enum(['parking', 'copying', 'asking', 'booting', 'served', 'done', 'returning', 'returned']),
  /** Why it went back, or what is to be said of its end. */
  because: z.string(),
  /** Wall time of the last step. */
  at: z.number(),
  /** As it was found. `parked`: what it is called while it is kept. */
  container: z.object({
    id: z.string(),
    name: z.string(),
    parked: z.string(),
    restart: Restart,
    wasRunning: z.boolean(),
  }),
  folders: z.array(z.object({ inside: z.string(), outside: z.string() })),
  dataBytes: z.number().nullable(),
  needBytes: z.number(),
  /** Of the mesh's GitLab, once the mesh hosts it: what knows of an earlier one only has not heard yet. */
  epoch: z.number().optional(),
  /** As the ledger shall have it. */
  hosted: z.object({
    data: HostedGitlab.shape.data,
    image: HostedGitlab.shape.image,
    preset: HostedGitlab.shape.preset,
    port: HostedGitlab.shape.port,
    sshPort: HostedGitlab.shape.sshPort,
    hostname: HostedGitlab.shape.hostname,
    place: HostedGitlab.shape.place,
  }),
});
export type Adoption = z.infer<typeof Adoption>;

const adoptionFile = 'adopted-gitlab.json';

/** A file (0600) of the agent's home: what a person's container was like, until it is settled what becomes of it. */
export class AdoptionJournal {
  readonly #path: string;
  #known: Adoption | null | undefined;

  constructor(home: string) {
    this.#path = join(home, adoptionFile);
  }

  /** Null where none was ever begun here. Throws where it cannot be understood: a container may be stopped by it. */
  read(): Adoption | null {
    if (this.#known !== undefined) return this.#known;
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      this.#known = null;
      return null;
    }
    this.#known = Adoption.parse(JSON.parse(text));
    return this.#known;
  }

  /** On the disk when it returns. */
  write(adoption: Adoption): void {
    replaceFileNow(this.#path, `${JSON.stringify(adoption)}\n`);
    this.#known = adoption;
  }
}

/** It is settled: nothing more is done by itself. */
export const isOver = ({ step }: Adoption): boolean => step === 'done' || step === 'returned';
