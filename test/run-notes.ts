import { appendFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

const firstLines = (errors: readonly { readonly message: string }[] | undefined): string =>
  (errors?.[0]?.message ?? '').split('\n').slice(0, 6).join('\n    ').slice(0, 1_000);

/**
 * Tells `npm test` (all.mjs), a line of JSON each, how long each file took, and which tests of which files were red: so that it
 * can try those once more and end with what was red and what was slow, as CI shows only the end of what a long run prints.
 */
export default class RunNotes implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const file = process.env.AUTOGIT_RUN_NOTES;
    if (!file) return;
    for (const module of modules) {
      const about = { project: module.project.name, file: module.relativeModuleId };
      const { setupDuration, prepareDuration, collectDuration, duration } = module.diagnostic();
      const red: { test: string; error: string }[] = [];
      for (const test of module.children.allTests())
        if (test.result().state === 'failed')
          red.push({ test: test.fullName, error: firstLines(test.result().errors) });
      for (const suite of module.children.allSuites())
        if (suite.errors().length > 0) red.push({ test: suite.fullName, error: firstLines(suite.errors()) });
      if (module.errors().length > 0) red.push({ test: 'the file itself', error: firstLines(module.errors()) });
      const ms = setupDuration + prepareDuration + collectDuration + duration;
      appendFileSync(file, `${JSON.stringify({ ...about, ms, red })}\n`);
    }
  }
}
