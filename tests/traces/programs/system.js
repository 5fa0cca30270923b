require('fs').readFileSync('missing/file');
