// What needs no host. Whole batches are tested in a host's sandbox: golden/, and `npm run golden`.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import MyPlugin, { hideDigits } from './dist/plugin.js';

test('digits are hidden and the rest stays', () => {
  assert.equal(hideDigits('+1 555-0199 ext. ٣'), '+# ###-#### ext. ٣');
});

test('a configuration without a column is refused', () => {
  assert.equal(new MyPlugin({ column: 'phone' }).column, 'phone');
  assert.throws(() => new MyPlugin({ column: '' }), /column/);
});
