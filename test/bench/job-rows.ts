import { connectGitlab, formMesh, pipelineEnd } from '../e2e/mesh.ts';
import { Rig, type TestMachine } from '../e2e/rig.ts';
import startEngine from '../root/engine.ts';
import { makeTestImages } from '../root/test-image.ts';
import { type Row, row } from './figures.ts';

/** ms from GitLab's answer to "make a pipeline" until the first command of its script ran, by the script's own clock. */
async function firstByte(rig: Rig, project: number): Promise<number> {
  const gitlab = rig.gitlab!;
  await gitlab.runPipeline(project);
  const pending = Date.now();
  const { jobs } = await pipelineEnd(rig, project);
  const began = Number(/^began (\d+)/m.exec(await gitlab.trace(project, jobs[0]!.id))?.[1]) / 1e6;
  return began - pending;
}

async function measure(rig: Rig, image: string | null, trials: number): Promise<number[]> {
  const job = `${image ? `image: '${image}', ` : ''}script: ['echo began $(date +%s%N)']`;
  const project = await rig.gitlab!.push('bench', { '.gitlab-ci.yml': `job: { ${job} }\n` });
  // The first one also makes the class's runner and warms everything up.
  await pipelineEnd(rig, project);
  const values: number[] = [];
  for (let i = 0; i < trials; i++) values.push(await firstByte(rig, project));
  return values;
}

const measureName = (executor: string): string => `job pending -> first script byte, ${executor}`;

/** On a mesh that stands already, without isolation. */
export async function processJobRow(rig: Rig, machine: TestMachine, trials: number): Promise<Row> {
  await connectGitlab(machine, rig.gitlab!);
  return row({ measure: measureName('process'), unit: 'ms', ours: await measure(rig, null, trials) });
}

/** On one machine beside the engine: containers could not reach a GitLab inside a network namespace of the rig. */
export async function dockerJobRow(trials: number): Promise<Row> {
  const name = measureName('docker with image present');
  const rig = new Rig();
  let stopEngine: (() => Promise<void>) | null = null;
  try {
    stopEngine = await startEngine();
    const image = makeTestImages().bash;
    await rig.practice().start();
    const [machine] = await formMesh(rig, ['kang'], { args: { kang: ['--executor', 'docker'] } });
    await connectGitlab(machine as TestMachine, rig.gitlab!);
    return row({ measure: name, unit: 'ms', ours: await measure(rig, image, trials) });
  } catch (error) {
    const because = error instanceof Error ? error.message : String(error);
    return row({ measure: name, unit: 'ms', ours: [], note: `could not be measured: ${because}` });
  } finally {
    await rig.clean();
    await stopEngine?.();
  }
}
