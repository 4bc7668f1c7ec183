import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from '../e2e/rig.ts';

interface Desk {
  /** What they write lies below it. */
  folder: string;
  /** In the network of the machine at which they sit. */
  run(file: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }>;
  /** The project at each address that they know; a push goes to the first that takes it. */
  remotes: readonly string[];
}

/** Users of a hosted GitLab, who push one commit after the other until they are told to end. */
export class PushingUsers {
  /** Commits whose push ended well, and a copy of them is on another machine. */
  readonly acknowledged: string[] = [];
  /** Those that were told to be on one machine only. */
  readonly alone: string[] = [];
  /** How many pushes ended badly, and what the last of them was told. */
  refused = { times: 0, words: '' };
  readonly #desk: Desk;
  readonly #tree: string;
  #isOver = false;
  #work: Promise<unknown> = Promise.resolve();

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#tree = mkdtempSync(join(desk.folder, 'user-'));
  }

  /** All whose push ended well. */
  get pushed(): string[] {
    return [...this.acknowledged, ...this.alone];
  }

  /** With a history of their own, or, `goesOn`, with what the first address has. */
  async begin({ goesOn } = { goesOn: false }): Promise<void> {
    const [first = ''] = this.#desk.remotes;
    const how = goesOn ? ['clone', '-q', first] : ['init', '-q', '-b', 'main'];
    const { code, stderr } = await this.#desk.run('git', ...how, this.#tree);
    if (code !== 0) throw new Error(`git ${how[0]}: ${stderr}`);
    this.#work = this.#pushes();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work;
  }

  async #pushes(): Promise<void> {
    const git = (...args: string[]) =>
      this.#desk.run('git', '-C', this.#tree, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args);
    for (let number = 1; !this.#isOver; number++) {
      // Of two who begin with the same, in the same second, each has a commit of his own.
      await git('commit', '-q', '--allow-empty', '-m', `push ${number} of ${this.#tree}`);
      const commit = (await git('rev-parse', 'HEAD')).stdout.trim();
      for (const remote of this.#desk.remotes) {
        const limits = ['-c', 'http.lowSpeedLimit=1', '-c', 'http.lowSpeedTime=5'];
        const { code, stderr } = await git(...limits, 'push', '-q', remote, 'HEAD:main');
        if (code !== 0) {
          this.refused = { times: this.refused.times + 1, words: stderr };
          continue;
        }
        (stderr.includes('one machine only') ? this.alone : this.acknowledged).push(commit);
        break;
      }
      await sleep(200);
    }
  }

  /** Those of `commits` that a project has on no branch and under no tag. */
  async lacking(commits: readonly string[], remote: string): Promise<string[]> {
    const fresh = mkdtempSync(join(this.#desk.folder, 'look-'));
    const { code, stderr } = await this.#desk.run('git', 'clone', '-q', '--bare', remote, fresh);
    if (code !== 0) throw new Error(`git clone: ${stderr}`);
    const all = (await this.#desk.run('git', '-C', fresh, 'rev-list', '--all')).stdout.split('\n');
    return commits.filter((commit) => !all.includes(commit));
  }
}
