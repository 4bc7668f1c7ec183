import { connectGitlab, formMesh, pipelineEnd } from '../../e2e/mesh.ts';
import { asRoot, Rig, type TestGitlab, type TestMachine, until } from '../../e2e/rig.ts';
import startEngine from '../../root/engine.ts';
import { makeTestImages } from '../../root/test-image.ts';
import { SectionTimes } from './section-time.ts';

export interface BenchJob {
  id: number;
  name: string;
  status: string;
  created_at: string;
  started_at: string;
  finished_at: string;
  pipeline: { id: number };
}

/**
 * One machine beside the engine, and a practice GitLab that answers as slowly as GitLab does (`--pace real`: calls 80 ms, its queue 250,
 * a job's request 120, webhooks 300 late). Containers could not reach a GitLab in a network namespace of the rig, so there is none.
 */
export class JobsStage {
  readonly #rig = new Rig();
  readonly #projects = new Map<string, number>();
  readonly sections = new SectionTimes(this.#rig.dir);
  #stopEngine: (() => Promise<void>) | null = null;
  machine!: TestMachine;
  gitlab!: TestGitlab;
  images!: ReturnType<typeof makeTestImages>;

  async start(): Promise<void> {
    this.#stopEngine = await startEngine();
    this.images = makeTestImages();
    this.gitlab = this.#rig.practice();
    this.gitlab.pace = 'real';
    await this.gitlab.start();
    await this.gitlab.api('/application/settings', {
      method: 'PUT',
      body: JSON.stringify({ allow_local_requests_from_web_hooks_and_services: true }),
    });
    const args = ['--executor', 'docker,process', ...asRoot, '--webhook', '127.0.0.1:7218'];
    const [machine] = await formMesh(this.#rig, ['kang'], { args: { kang: args }, env: { kang: this.sections.env } });
    this.machine = machine as TestMachine;
    await connectGitlab(this.machine, this.gitlab);
  }

  async cli(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.machine.cli(...args);
    if (code !== 0) throw new Error(`autogit-node ${args.join(' ')}: ${stderr}${stdout}`);
    return stdout;
  }

  /** A project with that file, its first pipeline ended: class, runner, image, mirror and webhook are there. */
  async project(name: string, yaml: string, timeoutMs = 300_000): Promise<number> {
    const known = this.#projects.get(name);
    if (known !== undefined) return known;
    const project = await this.gitlab.push(name, { '.gitlab-ci.yml': yaml });
    this.#projects.set(name, project);
    await pipelineEnd(this.#rig, project, timeoutMs);
    await until('webhooks come', () => this.cli('webhook', 'test'), 20_000);
    return project;
  }

  /** One more pipeline to its end. `pendingAt`: ms of the wall clock when GitLab had made it. */
  async again(project: number, timeoutMs = 120_000): Promise<{ pendingAt: number; jobs: BenchJob[] }> {
    await this.gitlab.runPipeline(project);
    const newest = await this.ended(project, timeoutMs);
    return { pendingAt: Date.parse(newest[0]?.created_at ?? ''), jobs: newest };
  }

  /** The jobs of its newest pipeline, which has to end well. */
  async ended(project: number, timeoutMs: number): Promise<BenchJob[]> {
    const { status } = await pipelineEnd(this.#rig, project, timeoutMs);
    const jobs = await this.gitlab.api<BenchJob[]>(`/projects/${project}/jobs?per_page=100`);
    if (status !== 'success') throw new Error(`the pipeline ended as ${status}: ${await this.#words(project, jobs)}`);
    return jobs.filter((job) => job.created_at === jobs[0]?.created_at);
  }

  async #words(project: number, jobs: readonly BenchJob[]): Promise<string> {
    const failed = jobs.find(({ status }) => status !== 'success');
    return failed ? (await this.gitlab.trace(project, failed.id)).slice(-300) : '';
  }

  /** When the first command of its script ran, by the script's own clock. */
  async beganAt(project: number, job: number): Promise<number> {
    const found = await until('the script has said when it began', async () =>
      /^began (\d+)/m.exec(await this.gitlab.trace(project, job)),
    );
    return Number(found[1]) / 1e6;
  }

  async end(): Promise<void> {
    await this.#rig.clean();
    await this.#stopEngine?.();
  }
}
