import { join } from 'node:path';
import { connectGitlab, formMesh } from '../e2e/mesh.ts';
import { Rig, type TestGitlab, type TestMachine, until } from '../e2e/rig.ts';
import { answeredLines } from './answered-lines.ts';

export interface Turn {
  cpuMs: number;
  lateMs: number;
  /** Of that: without the CPU of its own turns, so what the kernel made it wait. */
  waitMs: number;
}

/** One agent under the probe, alone in its mesh. */
export class Probed {
  readonly rig = new Rig();
  readonly file: string;
  machine!: TestMachine;
  gitlab!: TestGitlab;

  constructor() {
    this.file = join(this.rig.dir, 'turns');
  }

  async start(executors: string[], hasGitlab: boolean): Promise<void> {
    const env = { NODE_OPTIONS: `--require ${process.env.TURN_PROBE_CODE}`, TURN_PROBE: this.file };
    // Of its own: the user's keeps four builds, and other checkouts may use it at this moment.
    Object.assign(env, { XDG_CACHE_HOME: join(this.rig.dir, 'cache') });
    const [machine] = await formMesh(this.rig, ['kang'], { env: { kang: env }, args: { kang: executors } });
    this.machine = machine as TestMachine;
    if (!hasGitlab) return;
    this.gitlab = this.rig.practice();
    await this.gitlab.start();
    await connectGitlab(this.machine, this.gitlab);
  }

  /** The worst since it was asked last. */
  async turn(): Promise<Turn> {
    const lines = () => answeredLines(this.file);
    const before = lines().length;
    this.machine.process?.kill('SIGUSR2');
    const line = await until('the probe answers', () => lines()[before], 120_000);
    return JSON.parse(line) as Turn;
  }

  get pid(): number {
    return this.machine.process?.pid as number;
  }
}

/** The project's pipeline once more. */
export const again = async ({ gitlab }: Probed, project: number): Promise<void> => {
  await gitlab.runPipeline(project);
};
