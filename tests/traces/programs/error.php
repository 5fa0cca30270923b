<?php
function f(int $n) { return $n; }
f("text");
