import { Violation } from '../violation.ts';
import { stories } from './stories.ts';

/** Plays all stories until one breaks, for a process that looks for planted bugs; says it as the simulation does (--json). */
const broken: { seed: number; rule: string; sentence: string }[] = [];
const began = process.cpuUsage().user;
let played = 0;
for (const story of stories) {
  played += 1;
  try {
    story.play();
  } catch (error) {
    const rule = error instanceof Violation ? error.rule : 'no-exception';
    broken.push({ seed: played, rule, sentence: `${story.name}: ${error instanceof Error ? error.message : error}` });
    break;
  }
}
const realMs = (process.cpuUsage().user - began) / 1000;
process.stdout.write(JSON.stringify({ seeds: played, realMs, broken }));
