import { connectGitlab, formMesh, settled } from '../../e2e/mesh.ts';
import { Lan } from '../../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from '../../e2e/rig.ts';
import { medianUnder, type Row, row } from '../figures.ts';
import type { BenchJob } from './jobs-stage.ts';

const names = ['kang', 'desktop-1', 'desktop-2'] as const;
/** What a job asks for whose machine dies; each try says when it began. */
const retried = [
  'job:',
  '  tags: [movable]',
  '  retry: { max: 2, when: runner_system_failure }',
  "  script: ['echo began $(date +%s%N)', 'sleep 600']",
].join('\n');

/** Three machines on a LAN of their own; GitLab is on the first, which is never cut. */
export class LostStage {
  readonly rig = new Rig();
  readonly lan = new Lan(3);
  machines!: TestMachine[];

  async start(): Promise<void> {
    const gitlab = this.rig.practice(this.lan.namespace(1));
    await gitlab.start(this.lan.address(1));
    const joins = ['--executor', 'process', ...asRoot];
    const args = { 'desktop-1': [...joins, '--label', 'movable'], 'desktop-2': [...joins, '--label', 'movable'] };
    this.machines = await formMesh(this.rig, [...names], { lan: this.lan, args });
    const [kang] = this.machines as [TestMachine];
    await connectGitlab(kang, gitlab);
  }

  async jobs(project: number): Promise<BenchJob[]> {
    return this.rig.gitlab!.api<BenchJob[]>(`/projects/${project}/jobs?include_retried=true&per_page=100`);
  }

  /** When that try's script ran its first command; null while it has not. */
  async beganAt(project: number, job: number): Promise<number | null> {
    const found = /^began (\d+)/m.exec(await this.rig.gitlab!.trace(project, job));
    return found ? Number(found[1]) / 1e6 : null;
  }

  async end(): Promise<void> {
    await this.rig.clean();
    this.lan.down();
  }
}

/** Pulls the cable of the machine that runs it. Answers ms from the cut, and from the mesh's word that the run is lost, to the next try's first command. */
async function once(stage: LostStage, project: number): Promise<{ fault: number; news: number }> {
  const { rig, lan, machines } = stage;
  const gitlab = rig.gitlab!;
  await settled(machines);
  await gitlab.runPipeline(project);
  const first = await until('the job runs', async () => {
    const running = (await stage.jobs(project)).find(({ status }) => status === 'running');
    return running && (await stage.beganAt(project, running.id)) !== null ? running : null;
  });
  const rows = await machines[0]!.jobs();
  const node = rows.find(({ job }) => job === first.id)?.node;
  const place = names.indexOf(node as (typeof names)[number]) + 1;
  if (place < 2) throw new Error(`the job runs on ${node}`);
  await sleep(500 + Math.random() * 1_000);
  const cut = Date.now();
  lan.unplug(place);
  try {
    const next = await until('the next try has begun', async () => {
      const tries = await stage.jobs(project);
      const other = tries.find(({ id, status }) => id > first.id && status === 'running');
      return other ? stage.beganAt(project, other.id).then((at) => (at === null ? null : { at, id: other.id })) : null;
    });
    const lost = machines
      .filter((_, index) => index !== place - 1)
      .flatMap((machine) => machine.events('run-lost'))
      .map(({ time }) => time as number)
      .filter((time) => time >= cut);
    await gitlab.api(`/projects/${project}/jobs/${next.id}/cancel`, { method: 'POST' });
    return { fault: next.at - cut, news: next.at - Math.min(...lost) };
  } finally {
    lan.plug(place);
    await until('nothing runs', async () => (await stage.jobs(project)).every(({ status }) => status !== 'running'));
    await settled(machines);
  }
}

export async function goneRows(trials: number): Promise<Row[]> {
  const stage = new LostStage();
  const fault: number[] = [];
  const news: number[] = [];
  try {
    await stage.start();
    const project = await stage.rig.gitlab!.push('movable', { '.gitlab-ci.yml': retried });
    const first = await until('the first one runs', async () =>
      (await stage.jobs(project)).find(({ status }) => status === 'running'),
    );
    await stage.rig.gitlab!.api(`/projects/${project}/jobs/${first.id}/cancel`, { method: 'POST' });
    for (let trial = 0; trial < trials; trial++) {
      const one = await once(stage, project);
      fault.push(one.fault);
      news.push(one.news);
    }
  } finally {
    await stage.end();
  }
  const what = 'machine gone (cable pulled) -> its job runs elsewhere';
  const note = 'GitLab alone retries it when its job times out, or its runner is missed: 30 to 90 min';
  return [
    row({ measure: `${what}, from the news`, unit: 'ms', ours: news, targets: [medianUnder(2_000)] }),
    row({ measure: `${what}, from the fault`, unit: 'ms', ours: fault, targets: [medianUnder(6_000)], note }),
  ];
}
