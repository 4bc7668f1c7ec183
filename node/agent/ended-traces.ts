import type { GitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import type { Run } from '../../protocol/ledger.ts';
import { wholeChars } from '../runs/whole-chars.ts';

export interface TracePiece {
  text: string;
  next: number;
  done: boolean;
}

/** A piece fits into a frame, escaped as JSON may escape it. */
const pieceBytes = 128 << 10;
/** ms that a trace read from GitLab is kept: GitLab gives it whole, and a reader asks for its pieces in a row. */
const keptMs = 10_000;

/** GitLab's copy of traces of runs that have ended here, piece by piece, for machines that do not hold the token. */
export class EndedTraces {
  readonly #admin: () => GitlabAdmin;
  #kept: { run: string; bytes: Promise<Buffer> } | null = null;
  #forget: NodeJS.Timeout | null = null;

  constructor(admin: () => GitlabAdmin) {
    this.#admin = admin;
  }

  /** Throws `unsupported` where this node does not hold the token, `gitlab-*`. */
  async read(run: Run, offset: number): Promise<TracePiece> {
    const bytes = await this.#whole(run);
    const from = Math.min(offset, bytes.length);
    const rest = bytes.subarray(from, from + pieceBytes);
    const piece = from + rest.length === bytes.length ? rest : rest.subarray(0, wholeChars(rest));
    const next = from + piece.length;
    return { text: piece.toString('utf8'), next, done: next >= bytes.length };
  }

  async #whole(run: Run): Promise<Buffer> {
    if (this.#kept?.run !== run.run)
      this.#kept = { run: run.run, bytes: this.#admin().trace(run.projectId, run.job, 0) };
    const { bytes } = this.#kept;
    if (this.#forget) clearTimeout(this.#forget);
    this.#forget = setTimeout(() => this.#drop(bytes), keptMs).unref();
    try {
      return await bytes;
    } catch (error) {
      this.#drop(bytes);
      throw error;
    }
  }

  #drop(bytes: Promise<Buffer>): void {
    if (this.#kept?.bytes === bytes) this.#kept = null;
  }
}
