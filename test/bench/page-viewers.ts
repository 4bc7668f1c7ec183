import { type ClientRequest, request } from 'node:http';
import type { TestMachine } from '../e2e/rig.ts';
import { until } from '../e2e/rig.ts';

/** Of one session or key an agent keeps eight streams open: these have keys of their own. */
const ofOneKey = 8;

interface Event {
  event: string;
  data: unknown;
}

/** Connections as pages of other browsers have them: each takes the agent's events, and nothing is drawn. */
export class PageViewers {
  readonly #machine: TestMachine;
  readonly #keys: string[] = [];
  readonly #open: ClientRequest[] = [];
  #url = '';
  /** What all of them were told since it was cleared last, by kind. */
  readonly told = new Map<string, { events: number; bytes: number }>();

  constructor(machine: TestMachine) {
    this.#machine = machine;
  }

  /** As many as are told all that there is; `heard` is called with what each of them is told. */
  async open(count: number, heard: (event: Event) => void = () => {}): Promise<void> {
    while (this.#keys.length * ofOneKey < count) await this.#addKey();
    const begun = new Set<number>();
    for (let one = 0; one < count; one++) this.#watch(one, () => begun.add(one), heard);
    await until(`${count} pages are told`, () => begun.size === count);
  }

  async close(): Promise<void> {
    for (const one of this.#open.splice(0)) one.destroy();
  }

  async #addKey(): Promise<void> {
    const name = `bench-${this.#keys.length}`;
    const { stdout, stderr, code } = await this.#machine.cli('dashboard', 'key', '--name', name, '--json');
    if (code !== 0) throw new Error(stderr);
    const { key, url } = JSON.parse(stdout) as { key: string; url: string };
    this.#keys.push(key);
    this.#url = url;
  }

  #watch(number: number, begun: () => void, heard: (event: Event) => void): void {
    const headers = { authorization: `Bearer ${this.#keys[Math.floor(number / ofOneKey)]}` };
    const sent = request(`${this.#url}/api/events`, { headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (piece: string) => {
        const blocks = (text + piece).split('\n\n');
        text = blocks.pop() ?? '';
        for (const block of blocks) {
          const [, event, data] = /^event: ([\w-]+)\ndata: (.*)$/s.exec(block) ?? [];
          if (event === undefined || data === undefined) continue;
          const so = this.told.get(event) ?? { events: 0, bytes: 0 };
          this.told.set(event, { events: so.events + 1, bytes: so.bytes + Buffer.byteLength(block) + 2 });
          begun();
          heard({ event, data: JSON.parse(data) });
        }
      });
      answer.on('error', () => {});
    });
    sent.on('error', () => {});
    sent.end();
    this.#open.push(sent);
  }
}
