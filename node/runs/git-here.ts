import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { findProgram } from '../clean-spawn.ts';
import { git } from './git-command.ts';
import { heardGitVersion } from './git-way.ts';

/**
 * A git that is the same file as before is tried again only so often: what it needs beside itself may be gone, which a run that
 * fails by it says sooner (`doubt`). Each try begins two processes, for which the event loop of an idle agent waits.
 */
const triedMs = 600_000;
const limitMs = 5_000;

/** Whether this machine's git works, as of now: it may be removed, upgraded or broken under a running agent. */
class GitHere {
  #version = '';
  /** What was tried, and when (performance.now). */
  #tried = '';
  #triedAtMs = Number.NEGATIVE_INFINITY;
  /** What speaks http for it. */
  #helper = '';

  /** Its version. Costs a look at two files, mostly. Throws AutogitError `unsupported` with the fix. */
  async check(): Promise<string> {
    const path = findProgram('git', process.env.PATH);
    if (path === null)
      throw new AutogitError('unsupported', 'this machine has no git, which fetches the sources of jobs', {
        hint: 'sudo apt-get install git',
      });
    const file = fileKey(path);
    if (file !== this.#tried || performance.now() - this.#triedAtMs > triedMs) await this.#try();
    try {
      accessSync(this.#helper, constants.X_OK);
    } catch (cause) {
      throw broken(`${this.#helper} is missing`, cause);
    }
    this.#tried = file;
    return this.#version;
  }

  /** A call of it failed in a way that may be its own: it is tried again at the next look. */
  doubt(): void {
    this.#tried = '';
  }

  async #try(): Promise<void> {
    this.#tried = '';
    try {
      const [version, folder] = await Promise.all([
        git(['--version'], { cwd: '/', limitMs, isLook: true }),
        git(['--exec-path'], { cwd: '/', limitMs, isLook: true }),
      ]);
      this.#version = version.trim();
      heardGitVersion(version);
      this.#helper = join(folder.trim(), 'git-remote-http');
      this.#triedAtMs = performance.now();
    } catch (cause) {
      throw broken(sentenceOf(cause), cause);
    }
  }
}

/** Of this agent. */
export const gitHere = new GitHere();

const fileKey = (path: string): string => {
  const { ino, size, mtimeMs, ctimeMs } = statSync(path);
  return [path, ino, size, mtimeMs, ctimeMs].join(' ');
};

const broken = (because: string, cause: unknown): AutogitError =>
  new AutogitError('unsupported', `this machine's git, which fetches the sources of jobs, does not work: ${because}`, {
    cause,
    hint: 'sudo apt-get install --reinstall git',
  });
