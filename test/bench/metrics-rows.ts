import { Agent, request } from 'node:http';
import { sleep, type TestMachine } from '../e2e/rig.ts';
import { medianUnder, type Row, row } from './figures.ts';
import { leaderAndOther, type PageStage } from './page-stage.ts';

/** Between two scrapes: they shall not come in one moment of the agent's own rounds. */
const restMs = 150;

/** ms from the question to the last byte of the answer, over a connection that is kept, as Prometheus does. */
function scraped(url: string, key: string, agent: Agent): Promise<{ ms: number; bytes: number }> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/metrics`, { agent, headers: { authorization: `Bearer ${key}` } }, (answer) => {
      let bytes = 0;
      answer.on('data', (piece: Buffer) => {
        bytes += piece.length;
      });
      answer.once('end', () =>
        answer.statusCode === 200
          ? resolve({ ms: performance.now() - began, bytes })
          : reject(new Error(`/metrics answered ${answer.statusCode}`)),
      );
    });
    sent.once('error', reject);
    sent.end();
  });
}

async function scrapesOf(machine: TestMachine, times: number): Promise<{ ms: number[]; bytes: number }> {
  const { stdout } = await machine.cli('dashboard', 'key', '--name', 'bench', '--json');
  const { key, url } = JSON.parse(stdout) as { key: string; url: string };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    // The first one loads what scrapes need.
    let { bytes } = await scraped(url, key, agent);
    const ms: number[] = [];
    for (let time = 0; time < times; time++) {
      await sleep(restMs);
      const one = await scraped(url, key, agent);
      ms.push(one.ms);
      bytes = one.bytes;
    }
    return { ms, bytes };
  } finally {
    agent.destroy();
  }
}

/** A scrape at the machine that leads, which knows all, and at one that asks it for the jobs. */
export async function scrapeRows(stage: PageStage): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [who, machine] of leaderAndOther(stage)) {
    const { ms, bytes } = await scrapesOf(machine, Math.max(10, stage.trials) * 3);
    rows.push(
      row({
        measure: `/metrics of ${who}, 7 machines, 200 jobs`,
        unit: 'ms',
        ours: ms,
        targets: [medianUnder(20)],
        note: `${Math.round(bytes / 1024)} KiB a scrape`,
      }),
    );
  }
  return rows;
}
