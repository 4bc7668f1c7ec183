import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { sleep, until } from '../../e2e/rig.ts';
import { cutPower, start } from '../../lab/faults.ts';
import { HostedLab, lastLine } from '../../lab/hosting/hosted-lab.ts';
import { well } from '../../lab/hosting/well.ts';
import { buildLab } from '../../lab/lab.ts';
import { labNames } from '../../lab/lab-file.ts';
import type { LabMachine } from '../../lab/lab-machine.ts';
import { removeLabs } from '../../lab/lab-removal.ts';

const run = promisify(execFile);

/**
 * Three machines of the lab, each with an engine of its own. GitLab (the stand-in, as quick as it can be) is hosted on kang and
 * desktop-1 in turn; desktop-2 votes, and who works sits there: always by the same address, that machine's own door.
 */
export class MoveStage {
  readonly hosted: HostedLab;

  private constructor(hosted: HostedLab) {
    this.hosted = hosted;
  }

  static async make(say: (line: string) => void): Promise<MoveStage> {
    if (labNames().length > 0) throw new Error('a lab is up already, or was left over: npm run lab -- down');
    let stage: MoveStage | null = null;
    try {
      stage = new MoveStage(new HostedLab(await buildLab(3, 'move', say, { isBare: true })));
      await stage.#deploy();
      return stage;
    } catch (error) {
      // What stands by then would be in the way of the next run.
      stage?.hosted.remove();
      await removeLabs();
      throw error;
    }
  }

  async #deploy(): Promise<void> {
    const { hosted } = this;
    await hosted.bringImage();
    await hosted.bringImageToAll();
    const words = ['--hostname', hosted.lab.lan.address(1), '--copies', 'desktop-1'];
    const { code, stderr } = await hosted.deploy(hosted.kang, words);
    if (code !== 0) throw new Error(`gitlab deploy: ${lastLine(stderr)}`);
    await hosted.signIn();
    await hosted.gitlab.push('rounds', { 'readme.md': 'each push is a round' });
    hosted.gitlab.url = hosted.doors[2] as string;
    await this.well();
  }

  get user(): LabMachine {
    return this.hosted.lab.machine('desktop-2');
  }

  other(host: LabMachine): LabMachine {
    return this.hosted.lab.machine(host.name === 'kang' ? 'desktop-1' : 'kang');
  }

  set(key: string, value: string): Promise<unknown> {
    return this.hosted.done(this.user, 'settings', key, value);
  }

  /** Who hosts, once all machines say so, it serves by that address, and the other one is in sync. */
  async well(): Promise<LabMachine> {
    return this.hosted.lab.machine(await well(this.hosted));
  }

  /** As a person moves it; until the command has ended. */
  move(to: LabMachine): Promise<unknown> {
    return this.hosted.done(this.user, '--yes', 'gitlab', 'move', to.name);
  }

  /** Off at once, as by its plug. `at` when. */
  async cut(machine: LabMachine): Promise<number> {
    const at = performance.now();
    await cutPower(this.hosted.lab, machine);
    return at;
  }

  /** What the other two wrote since, with the seconds that had passed: of what an outage is made. */
  told(machine: LabMachine, at: number): string[] {
    const since = performance.timeOrigin + at;
    const others = this.hosted.lab.machines.filter((one) => one !== machine);
    return others
      .flatMap((one) => one.agent.log().map(({ time, msg }) => ({ time, msg, name: one.name })))
      .filter(({ time }) => time >= since)
      .sort((a, b) => a.time - b.time)
      .map(
        ({ time, name, msg }) =>
          `  +${((time - since) / 1000).toFixed(2)} s ${name}: ${String(msg ?? '').slice(0, 150)}`,
      );
  }

  async back(machine: LabMachine): Promise<void> {
    await start(this.hosted.lab, machine);
    // After three moves without ten minutes at one machine none would follow by itself.
    await this.hosted.cli(this.user, '--yes', 'gitlab', 'clear-flag');
  }

  /** ms of GitLab's start from the newest round on that machine, by its own drill: container and boot, nothing of a move. */
  async startAlone(machine: LabMachine): Promise<number> {
    const words = ['--json', 'gitlab', 'drill', '--on', machine.name];
    const { code, stdout, stderr } = await this.hosted.cli(this.user, ...words);
    if (code !== 0) throw new Error(`gitlab drill on ${machine.name}: ${lastLine(stderr)}`);
    const { steps } = JSON.parse(stdout) as { steps: { step: string; ms: number }[] };
    const found = ['clone', 'boot'].map((name) => steps.find(({ step }) => step === name)?.ms);
    if (found.includes(undefined)) throw new Error(`a drill without its start: ${stdout}`);
    return found.reduce<number>((sum, ms) => sum + (ms as number), 0);
  }

  async end(): Promise<void> {
    this.hosted.remove();
    await removeLabs();
  }
}

/** Pushes one commit after the other, as a user does who does not give up. */
export class Pusher {
  readonly #stage: MoveStage;
  readonly #tree = mkdtempSync('/var/tmp/t-move-bench-');
  /** When each was begun, and acknowledged; ms of performance.now(). */
  readonly acknowledged: { start: number; end: number; commit: string }[] = [];
  #isOver = false;
  #work: Promise<void> = Promise.resolve();

  constructor(stage: MoveStage) {
    this.#stage = stage;
  }

  get #remote(): string {
    const { url, token } = this.#stage.hosted.gitlab;
    return `${url.replace('//', `//root:${token}@`)}/root/rounds.git`;
  }

  #git(...args: string[]): Promise<string> {
    const who = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost'];
    // Of a machine without power nothing comes any more, and nothing says so.
    const limits = ['-c', 'http.lowSpeedLimit=1', '-c', 'http.lowSpeedTime=4'];
    return run('nsenter', [this.#stage.user.net, 'git', ...who, ...limits, ...args]).then(({ stdout }) => stdout);
  }

  async begin(): Promise<void> {
    await this.#git('clone', '-q', this.#remote, this.#tree);
    this.#work = this.#pushes();
  }

  async #pushes(): Promise<void> {
    while (!this.#isOver) {
      await this.#git('-C', this.#tree, 'commit', '-q', '--allow-empty', '-m', 'in the bench');
      const commit = (await this.#git('-C', this.#tree, 'rev-parse', 'HEAD')).trim();
      for (let isIn = false; !isIn && !this.#isOver; await sleep(50)) {
        const start = performance.now();
        isIn = await this.#git('-C', this.#tree, 'push', '-q', this.#remote, 'HEAD:main').then(
          () => true,
          () => false,
        );
        if (isIn) this.acknowledged.push({ start, end: performance.now(), commit });
      }
    }
  }

  /** The first that was begun since. */
  firstSince(at: number, withinMs: number): Promise<{ start: number; end: number }> {
    const found = () => this.acknowledged.find(({ start }) => start >= at);
    return until('a push is acknowledged', found, withinMs);
  }

  /** ms between two acknowledgements, of the two that are furthest apart. */
  longestMs(): number {
    return Math.max(...this.acknowledged.slice(1).map(({ end }, at) => end - (this.acknowledged[at]?.end ?? end)));
  }

  /** How many that were acknowledged GitLab does not have. */
  async lost(): Promise<number> {
    await this.#git('-C', this.#tree, 'fetch', '-q', this.#remote, '+main:refs/heads/there');
    const there = new Set((await this.#git('-C', this.#tree, 'rev-list', 'refs/heads/there')).split('\n'));
    return this.acknowledged.filter(({ commit }) => !there.has(commit)).length;
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work.catch(() => undefined);
    rmSync(this.#tree, { recursive: true, force: true });
  }
}
