import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { createGitlabAdmin, type GitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { requestJob } from '../../gitlab-bridge/gitlab-runner.ts';
import type { JobPayload } from '../../gitlab-bridge/payload.ts';
import { type PracticeGitlab, startPractice } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { systemClock } from '../../node/clock.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import type { Executor, Store } from '../../node/ports.ts';
import { type RunOptions, RunSupervisor } from '../../node/runs/run-supervisor.ts';
import { openStore } from '../../node/store/level-store.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { TakeOutcome } from '../../scheduler/inputs.ts';

/** One node's runs against a practice GitLab: real server, real level, real git, real bash. */
export const secret = 'S3CR3T-of-the-mesh-0123456789';

export async function until<T>(
  what: string | (() => Promise<string>),
  look: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  limitMs = 40_000,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (Date.now() > end)
      throw new Error(`not within ${limitMs} ms: ${typeof what === 'string' ? what : await what()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export class RunLab {
  readonly folder = mkdtempSync(join(tmpdir(), 'autogit-run-'));
  readonly home = join(this.folder, 'home');
  gitlab!: PracticeGitlab;
  admin!: GitlabAdmin;
  projectId = 0;
  runnerToken = '';
  runnerId = 0;
  store: Store | null = null;
  supervisor: RunSupervisor | null = null;
  changes: Run[] = [];
  leaderAt: () => number = () => this.clock.bootMs();
  /** As after a recovery by force, while not all machines have come over. */
  readonly clock = systemClock();
  epoch = 0;
  executor: () => Executor = () => new ProcessExecutor({ home: this.home, cgroups: false });

  /** What else the supervisor is given. */
  more: Partial<RunOptions> = {};

  static async start(files: Record<string, string>): Promise<RunLab> {
    const lab = new RunLab();
    mkdirSync(lab.home, { recursive: true });
    lab.gitlab = await startPractice({ dataDir: join(lab.folder, 'gitlab') });
    lab.admin = createGitlabAdmin({ url: lab.gitlab.url, token: lab.gitlab.adminToken, timeoutMs: 10_000 });
    const runner = await lab.admin.createRunner({ tags: [], description: 'autogit lab 1' });
    Object.assign(lab, { runnerToken: runner.token, runnerId: runner.id });
    await lab.push(files);
    return lab;
  }

  async push(files: Record<string, string>): Promise<void> {
    const { url, adminToken } = this.gitlab;
    const answer = await fetch(`${url}/api/v4/projects`, {
      method: 'POST',
      headers: { 'PRIVATE-TOKEN': adminToken, 'Content-Type': 'application/json' },
      body: JSON.stringify({ name: 'sample' }),
    });
    const project = (await answer.json()) as { id: number; http_url_to_repo: string };
    this.projectId = project.id;
    const tree = join(this.folder, 'tree');
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(tree, path)), { recursive: true });
      writeFileSync(join(tree, path), content);
    }
    const address = new URL(project.http_url_to_repo);
    address.username = 'root';
    address.password = adminToken;
    const git = this.git;
    this.address = address.href;
    await git('init', '-q', '-b', 'main');
    await git('add', '.');
    await git('commit', '-q', '-m', 'first');
    await git('push', '-q', address.href, 'HEAD:main');
  }

  /** What GitLab gives a runner: a job that runs as far as it knows. */
  async takeJob(): Promise<JobPayload> {
    const info = {
      name: 'x',
      version: '1',
      platform: 'linux',
      architecture: 'amd64',
      executor: 'shell',
      shell: 'bash',
    };
    const answer = await requestJob({
      url: this.gitlab.url,
      token: this.runnerToken,
      systemId: 'r_lab',
      info: { ...info, features: { refspecs: true } },
      timeoutMs: 10_000,
    });
    if (answer.kind !== 'job') throw new Error(`no job: ${JSON.stringify(answer)}`);
    return answer.payload;
  }

  /** Where the project is pushed to, with a token. */
  address = '';
  /** Git in the tree that is pushed. Not in this process's way: the server lives here too. */
  readonly git = (...args: string[]) =>
    promisify(execFile)('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], {
      cwd: join(this.folder, 'tree'),
    });

  options(store: Store): RunOptions {
    return {
      self: 'node-a',
      nodeName: 'kang',
      version: '0.1.0',
      systemId: 'r_lab',
      store,
      executors: [this.executor()],
      gitlabUrl: () => this.gitlab.url,
      seal: (text) => Buffer.from(text).toString('base64'),
      unseal: (text) => Buffer.from(text, 'base64').toString(),
      instance: () => ({ uuid: this.gitlab.instanceUuid, epoch: this.epoch }),
      clock: this.clock,
      leaderContactAt: () => this.leaderAt(),
      gpusByUuid: () => [],
      limitsFor: () => ({ cpuMillis: null, memoryBytes: null }),
      onRunChanged: (run) => this.changes.push(run),
      log: { info: this.note, warn: this.note, error: this.note },
      home: this.home,
      ...this.more,
    };
  }

  /** The supervisor of an agent process; the one before must have been stopped. */
  async agent(): Promise<RunSupervisor> {
    this.store = await openStore(join(this.home, 'store'));
    this.supervisor = new RunSupervisor(this.options(this.store));
    await this.supervisor.resume();
    return this.supervisor;
  }

  async stopAgent(): Promise<void> {
    await this.supervisor?.stop();
    await this.store?.close();
    this.supervisor = null;
    this.store = null;
  }

  grant = 0;
  /** Of the runs that it takes. */
  gpus: string[] = [];
  tags: string[] = [];
  async take(): Promise<TakeOutcome> {
    const supervisor = this.supervisor as RunSupervisor;
    return supervisor.take({
      kind: 'take-job',
      grant: `g${++this.grant}`,
      class: '',
      tags: this.tags,
      token: Buffer.from(this.runnerToken).toString('base64'),
      gpus: this.gpus,
    });
  }

  /** Takes the next job and answers its run. */
  async begin(): Promise<Run> {
    const outcome = await this.take();
    if (outcome.kind !== 'taken') throw new Error(`no job: ${JSON.stringify(outcome)}`);
    return outcome.run;
  }

  async ended(run: Run): Promise<Run> {
    return until(
      () => this.told(run),
      () => this.changes.findLast((other) => other.run === run.run && ['delivered', 'discarded'].includes(other.state)),
    );
  }

  /** Runs the next job to its end, which is that one. Answers its trace as people read it. */
  async traceOfNext(state = 'success'): Promise<string> {
    const ended = await this.ended(await this.begin());
    const trace = plainText(await this.traceAt(ended));
    expect(ended.result, trace).toMatchObject({ state });
    return trace;
  }

  readonly notes: string[] = [];
  readonly note = (sentence: string): void => void this.notes.push(sentence);
  async told(run: Run): Promise<string> {
    const states = this.changes.filter((other) => other.run === run.run).map(({ state }) => state);
    return `the end of job ${run.job}; ${states}; log: ${this.notes.join('\n')}; trace:\n${await this.traceHere(run)}`;
  }

  async traceAt(run: Run): Promise<string> {
    const answer = await fetch(`${this.gitlab.url}/api/v4/projects/${this.projectId}/jobs/${run.job}/trace`, {
      headers: { 'PRIVATE-TOKEN': this.gitlab.adminToken },
    }).catch(() => null);
    return answer?.ok ? answer.text() : '';
  }

  /** The trace as the node has it, to its end so far. */
  async traceHere(run: Run): Promise<string> {
    let text = '';
    for (let offset = 0; ; ) {
      const part = await this.supervisor?.traceOf(run.run, offset);
      if (!part) return text;
      text += part.text;
      if (part.next === offset) return text;
      offset = part.next;
    }
  }

  async stop(): Promise<void> {
    await this.stopAgent();
    await this.gitlab.stop();
    // What a test left running outlives its agent, as it should; not the test.
    await new ProcessExecutor({ home: this.home }).sweep(new Set());
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A trace without colours, section markers and carriage returns. */
export const plainText = (trace: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters
  trace.replace(/section_(start|end):\d+:\w+\r\u001b\[0K/g, '').replace(/\u001b\[[0-9;]*[mK]/g, '');
