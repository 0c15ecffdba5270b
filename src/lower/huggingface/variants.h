// Decoders that differ from Llama's by more than a row says, one file each.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::hf {

Family gemma();
Family gemma2();
Family gemma3();
Family phi3();
Family olmo2();
Family starcoder2();
Family stablelm();
Family granite();
Family cohere();

}  // namespace memplan::hf
