import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { NodeId } from '../../../protocol/ids.ts';
import { RoundName } from '../../../protocol/round-name.ts';
import { replaceFile, type SystemTools } from '../system-tools.ts';

const Pins = z.record(z.string(), RoundName);
type Pins = Record<NodeId, RoundName>;

/** Beside the rounds: what each standby's next difference starts from, or an agent that starts thins it before it heard of it. */
export class PinFile {
  readonly #path: string;
  readonly #tools: SystemTools;
  #kept = '';
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, tools: SystemTools) {
    this.#path = path;
    this.#tools = tools;
  }

  /** None is fine: a standby that lists the round itself pins it, the others get a whole copy. */
  read(): Pins {
    try {
      return Pins.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return {};
    }
  }

  keep(pins: Pins): void {
    const text = JSON.stringify(pins);
    if (text === this.#kept) return;
    this.#kept = text;
    this.#writing = replaceFile(this.#path, text, this.#tools).catch(() => {});
  }

  written(): Promise<void> {
    return this.#writing;
  }
}
