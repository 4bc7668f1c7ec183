import { connectGitlab, formMesh } from '../e2e/mesh.ts';
import { asRoot, Rig, type TestGitlab, type TestMachine, until } from '../e2e/rig.ts';
import { addPart, type Row } from './figures.ts';
import { scrapeRows } from './metrics-rows.ts';
import type { BenchOptions } from './options.ts';
import { costRows } from './page-cost-rows.ts';
import { heapRows } from './page-heap-rows.ts';
import { newsRows } from './page-news-rows.ts';
import type { PageStage } from './page-stage.ts';

/** One part of the table: `--only KEY` runs it alone. */
interface PagePart {
  key: string;
  measure(stage: PageStage): Promise<Row[]>;
}

const pageParts: readonly PagePart[] = [
  { key: 'metrics', measure: scrapeRows },
  { key: 'news', measure: newsRows },
  { key: 'cost', measure: costRows },
];

/** Of a page alone, without a mesh; and how long it is left open, where nobody says. */
const heapKey = 'heap';
const leftOpenSeconds = 900;
export const pageKeys: readonly string[] = [...pageParts.map(({ key }) => key), heapKey];

const names = ['kang', 'desktop-1', 'desktop-2', 'nas', 'laptop', 'pi-1', 'pi-2'];
const jobs = 200;
/** The limit of `parallel` in GitLab. */
const mostAtOnce = 100;

async function fill(gitlab: TestGitlab, machine: TestMachine): Promise<void> {
  await connectGitlab(machine, gitlab);
  const parts = Array.from(
    { length: jobs / mostAtOnce },
    (_, part) => `part-${part}:\n  parallel: ${mostAtOnce}\n  script: [sleep 3600]\n`,
  );
  await gitlab.push('bench', { '.gitlab-ci.yml': parts.join('\n') });
  await until(
    `${jobs} jobs are known, and all machines work`,
    async () => {
      const rows = await machine.jobs();
      const at = new Set(rows.filter(({ state }) => state === 'running').map(({ node }) => node));
      return rows.length >= jobs && at.size === names.length;
    },
    180_000,
  );
}

/** Those rows that need a mesh. */
async function onMesh(parts: readonly PagePart[], rows: Row[], { trials }: BenchOptions, say: PageStage['say']) {
  const rig = new Rig();
  try {
    const gitlab = rig.practice();
    await gitlab.start();
    const few = ['--executor', 'process', ...asRoot, '--max-runs', '1'];
    const machines = await formMesh(rig, names, { args: Object.fromEntries(names.map((name) => [name, few])) });
    await fill(gitlab, machines[0] as TestMachine);
    const leads = (await machines[0]?.status())?.leader?.node;
    const leader = machines.find(({ name }) => name === leads) as TestMachine;
    for (const { key, measure } of parts)
      await addPart(rows, key, () => measure({ machines, leader, gitlab, trials, say }), say);
  } finally {
    await rig.clean();
  }
}

/** `npm run bench -- page`: what people who look on, and programs, cost and wait for. */
export async function pageRows(options: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  const isWanted = (key: string): boolean => options.only.length === 0 || options.only.includes(key);
  const parts = pageParts.filter(({ key }) => isWanted(key));
  if (parts.length > 0) await onMesh(parts, rows, options, say);
  if (isWanted(heapKey))
    await addPart(rows, heapKey, () => heapRows(options.stressSeconds ?? leftOpenSeconds, say), say);
  return rows;
}
