import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { believe } from '../../gitlab-bridge/own-ca.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { hostedUrl, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import type { Log } from '../log.ts';

/**
 * The CA of the mesh's own GitLab, where a person named one: this agent and the machine's git believe it for that address, and for no
 * other. No secret; git reads a file.
 */
export class GitlabTrust {
  readonly #file: string;
  readonly #log: Pick<Log, 'warn'>;
  #told: { origin: string; pem: string } | null = null;

  constructor(home: string, log: Pick<Log, 'warn'>) {
    this.#file = join(home, 'gitlab-ca.pem');
    this.#log = log;
  }

  ledgerChanged(ledger: Ledger | null): void {
    const hosting = hostingOf(ledger);
    const pem = hosting?.https?.ca ?? null;
    const origin = hosting && new URL(hostedUrl(hosting)).origin;
    if (origin === (this.#told?.origin ?? null) && pem === (this.#told?.pem ?? null)) return;
    if (this.#told !== null) believe(this.#told.origin, null);
    this.#told = null;
    try {
      this.#keep(origin === null ? null : pem);
    } catch (error) {
      this.#log.warn(`the CA of GitLab's address cannot be written for git: ${sentenceOf(error)}`);
    }
    if (origin === null || pem === null) return;
    believe(origin, { pem, file: this.#file });
    this.#told = { origin, pem };
  }

  #keep(pem: string | null): void {
    if (pem === null) return rmSync(this.#file, { force: true });
    if (readIfThere(this.#file) === pem) return;
    writeFileSync(`${this.#file}.new`, pem, { mode: 0o644 });
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
