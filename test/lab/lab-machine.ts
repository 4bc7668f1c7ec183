import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '../../node/local-api/socket-client.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { bin, TestMachine, until } from '../e2e/rig.ts';
import { LabEngine, shimSockets, startInside, thawCgroups } from './lab-engine.ts';
import { labCgroup, labRoot } from './lab-file.ts';
import { killAll, type MachineProcess, processesOf } from './machine-processes.ts';

/** What the desktops of a lab play, in turn. */
const gpus = ['RTX 3090 Ti:24g', 'RTX 5080:16g', 'RTX 3060:12g'];

/** One machine of a lab: a home with its agent, and an engine, in a namespace. All state is on disk or in processes. */
export class LabMachine {
  readonly name: string;
  readonly dir: string;
  readonly namespace: string;
  readonly engine: LabEngine;
  /** Its command line and its log, as the end-to-end tests use them. */
  readonly agent: TestMachine;
  readonly #index: number;

  constructor(lab: string, name: string, index: number, namespace: string) {
    this.name = name;
    this.#index = index;
    this.namespace = namespace;
    this.dir = join(labRoot, lab, name);
    this.engine = new LabEngine(name, this.dir, namespace);
    this.agent = new TestMachine(name, join(this.dir, 'agent'), namespace, {
      DOCKER_HOST: this.engine.host,
      AUTOGIT_HOME: join(this.dir, 'agent'),
    });
  }

  /** To `nsenter`: on its network, and all else as on this computer. */
  get net(): string {
    return `--net=/var/run/netns/${this.namespace}`;
  }

  get #out(): string {
    return join(this.dir, 'agent.out');
  }

  get said(): string {
    return existsSync(this.#out) ? readFileSync(this.#out, 'utf8') : '';
  }

  /** Starts the agent and returns at once. */
  startAgent(boot: string, more: readonly string[] = [], own: NodeJS.ProcessEnv = {}): void {
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    const gpu = this.#index === 1 ? undefined : gpus[(this.#index - 2) % gpus.length];
    const env = { ...process.env, AUTOGIT_LAB_BOOT_ID: boot, AUTOGIT_PLAY_GPU: gpu, DOCKER_HOST: undefined, ...own };
    const join = ['join', '--name', this.name, ...more];
    const jobs = ['--executor', 'docker', '--docker-host', this.engine.host];
    const command = [process.execPath, bin, '--home', this.agent.home, '--no-input', ...join, ...jobs];
    startInside(this.namespace, this.#out, command, env);
  }

  startGitlab(address: string, port: number): void {
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    rmSync(this.#gitlabOut, { force: true });
    const place = ['--host', address, '--port', String(port), '--data', join(this.dir, 'gitlab')];
    const command = [process.execPath, bin, 'practice-gitlab', '--json', ...place];
    startInside(this.namespace, this.#gitlabOut, command, process.env);
  }

  get #gitlabOut(): string {
    return join(this.dir, 'gitlab.out');
  }

  gitlabSays(): Promise<{ url: string; token: string }> {
    return until(`the practice GitLab on ${this.name}`, () => {
      const lines = existsSync(this.#gitlabOut) ? readFileSync(this.#gitlabOut, 'utf8').split('\n') : [];
      const line = lines.slice(0, -1).find((candidate) => candidate.startsWith('{'));
      return line ? (JSON.parse(line) as { url: string; token: string }) : null;
    });
  }

  processes(): MachineProcess[] {
    return processesOf(this.namespace);
  }

  #running(word: string): MachineProcess[] {
    return this.processes().filter(({ command }) => command.includes(word) && command.some((part) => part === bin));
  }

  agents(): MachineProcess[] {
    return this.#running('join');
  }

  gitlabs(): MachineProcess[] {
    return this.#running('practice-gitlab');
  }

  /** Fails when the agent does not answer in `limitMs`. */
  async status(limitMs = 10_000): Promise<StatusSnapshot> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the agent of ${this.name} does not answer`)), limitMs);
    });
    try {
      return (await Promise.race([createClient(this.agent.home).status(), late])).snapshot;
    } finally {
      clearTimeout(timer);
    }
  }

  /** kill -9 of the agent alone. */
  killAgent(): Promise<void> {
    return killAll(`the agent of ${this.name}`, () => this.agents());
  }

  /** kill -9 of its Docker Engine: agent and containers go on. */
  killEngine(): Promise<void> {
    return this.engine.kill(() => this.processes());
  }

  /** The plug of the whole machine: agent, watchdog, engine, containers, GitLab, all at once, and all that RAM held. */
  async killMachine(): Promise<void> {
    const left = shimSockets(this.namespace);
    await killAll(`all of ${this.name}`, () => {
      const all = this.processes();
      if (all.length > 0) thawCgroups(join(labCgroup, this.name));
      return all;
    });
    for (const path of left) rmSync(path, { force: true });
    rmSync(join(this.agent.home, 'agent.sock'), { force: true });
    this.engine.forget();
  }
}

/** `autogit-node` by name for who is inside a machine (`exec`): it finds the machine's agent by its variables. */
export function writeCommand(lab: string): string {
  const dir = join(labRoot, lab, 'bin');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'autogit-node'), `#!/bin/sh\nexec '${process.execPath}' '${bin}' "$@"\n`, { mode: 0o755 });
  return dir;
}
