import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { RoundName } from '../../../protocol/round-name.ts';
import { StandbyRules } from '../../../scheduler/hosting/copies/standby-rules.ts';
import { replaceFile, type SystemTools } from '../system-tools.ts';
import type { RoundPart } from './replica-ports.ts';

const Promised = z.object({ epoch: z.int().nonnegative(), name: RoundName });
type Promised = z.infer<typeof Promised>;

/** Beside the rounds: what a leader was told, with which the next epoch may begin. An agent that starts would thin it otherwise. */
export class PromiseFile {
  readonly #path: string;
  readonly #tools: SystemTools;
  #kept = '';

  constructor(path: string, tools: SystemTools) {
    this.#path = path;
    this.#tools = tools;
  }

  /** Null where nothing was promised, and of a file that says nothing: then none was told by it either. */
  read(): Promised | null {
    try {
      return Promised.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }

  /** On the disk when it resolves. */
  async keep(promised: Promised): Promise<void> {
    const text = JSON.stringify(promised);
    if (text === this.#kept) return;
    await replaceFile(this.#path, text, this.#tools);
    this.#kept = text;
  }
}

/** Of an agent that begins, whatever the one before it has told. */
export function rulesOf(promised: Pick<PromiseFile, 'read'>): Record<RoundPart, StandbyRules> {
  const rules = { hot: new StandbyRules(), bulk: new StandbyRules() };
  const told = promised.read();
  if (told !== null) rules.hot.promise(told.epoch, told.name);
  return rules;
}
