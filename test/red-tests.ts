import { appendFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

const firstLines = (errors: readonly { readonly message: string }[] | undefined): string =>
  (errors?.[0]?.message ?? '').split('\n').slice(0, 6).join('\n    ').slice(0, 1_000);

/**
 * Tells `npm test` (all.mjs) which tests of which files were red, a line of JSON each, so that it can try those files once
 * more and end with what was red: CI shows only the end of what a long run prints.
 */
export default class RedTests implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const file = process.env.AUTOGIT_RED_TESTS;
    if (!file) return;
    for (const module of modules) {
      const about = { project: module.project.name, file: module.relativeModuleId };
      const red: { test: string; error: string }[] = [];
      for (const test of module.children.allTests())
        if (test.result().state === 'failed')
          red.push({ test: test.fullName, error: firstLines(test.result().errors) });
      for (const suite of module.children.allSuites())
        if (suite.errors().length > 0) red.push({ test: suite.fullName, error: firstLines(suite.errors()) });
      if (module.errors().length > 0) red.push({ test: 'the file itself', error: firstLines(module.errors()) });
      for (const one of red) appendFileSync(file, `${JSON.stringify({ ...about, ...one })}\n`);
    }
  }
}
